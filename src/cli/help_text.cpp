#include "cli/help_text.h"

namespace atl::cli {

#define INNER_CODES                                                                                  \
  "  124  its --timeout ended it\n"                                                                  \
  "  125  Atoll failed, or the sandbox ended meanwhile; standard error says why\n"                   \
  "  126  the command cannot be invoked: not executable, no such user or working folder\n"           \
  "  127  the command was not found\n"                                                               \
  "  128+n  signal n ended it, or ended atoll (130 after Ctrl-C)"

const char* const kFooter =
    "Exit codes:\n"
    "  0    done\n"
    "  1    another failure; also of cp, where something was skipped\n"
    "  2    the command line was wrong\n"
    "  3    the sandbox, file or template was not found\n"
    "  4    no API key, or it was refused\n"
    "  5    the daemon cannot be reached\n"
    "Those of run, exec and shell are the command's own, and, as docker and podman have them:\n" INNER_CODES
    "\n\n"
    "Environment: ATOLL_ENDPOINT or E2B_API_URL (the endpoint), E2B_API_KEY, NO_COLOR.\n"
    "Durations: 90, 90s, 5m, 2h, 1h30m.";

#define LITERAL                                                                                      \
  "Everything after -- is passed to the command literally; for pipes and variables use --shell 'text',\n" \
  "which runs /bin/bash -l -c 'text' inside.\n\n"

const char* const kRunFooter =
    LITERAL
    "Ctrl-C is passed to the command; a second one ends the sandbox. Without --timeout the sandbox lives\n"
    "as long as the command, and five minutes at most after atoll itself was killed.\n\n"
    "Exit codes: the command's own, and\n"
    "  2    the command line was wrong\n" INNER_CODES;

const char* const kExecFooter =
    LITERAL
    "Ctrl-C is passed to the command; a second one kills it.\n\n"
    "Exit codes: the command's own, and\n"
    "  2    the command line was wrong\n" INNER_CODES;

const char* const kShellFooter =
    "Exit codes: the shell's own, and\n"
    "  2    the command line was wrong, or there is no terminal\n" INNER_CODES;

const char* const kCopyFooter =
    "A folder is copied with all in it; \"FOLDER/.\" is what is in it. Both ways alike: a link named as the\n"
    "source is followed. A link within a folder stays a link if it is relative and leads to somewhere in\n"
    "that folder; other links, and what is no file, folder or link, are skipped: each is said on standard\n"
    "error, and the exit code is 1. All links are kept by:\n"
    "  tar -C DIR -c . | atoll exec ID -- tar -C DIR -x\n"
    "Inside, files belong to --user, without it to the template's user (base: user); here, to who runs\n"
    "atoll. Modes are kept (no set-user-id bits out of a sandbox), owners and times are not.\n"
    "A path of this machine that looks like ID:PATH is written ./ID:PATH.";

const char* const kDaemonFooter = "What follows -- is handed to atolld (atolld --help), for example: -- --port 7800";

#undef LITERAL
#undef INNER_CODES

std::string_view usage_tail(std::string_view command) {
  if (command == "run" || command == "exec") return " -- COMMAND [ARGUMENT...]";
  if (command == "shell") return " [-- COMMAND [ARGUMENT...]]";
  if (command == "start" || command == "restart") return " [-- OPTIONS OF atolld]";
  return "";
}

}  // namespace atl::cli
