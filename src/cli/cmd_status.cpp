#include <fmt/format.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "cli/commands.h"
#include "cli/daemon.h"
#include "cli/duration.h"
#include "cli/exits.h"
#include "cli/fields.h"
#include "cli/table.h"
#include "cli/text.h"

namespace atl::cli {
namespace {

constexpr Millis kAnswerDeadline{5'000};

struct Report {
  json::object facts;                                       // for --json
  std::vector<std::pair<std::string, std::string>> fields;  // for people, printable
  std::vector<std::string> problems;
  int exit_code = kExitOk;

  void problem(std::string text, int code) {
    problems.push_back(std::move(text));
    if (exit_code == kExitOk || code == kExitUnreachable) exit_code = code;
  }
};

bool is_local(const Context& context) {
  return context.global.endpoint.empty() && !context.environment("ATOLL_ENDPOINT") && !context.environment("E2B_API_URL");
}

void report_roles(Report& report, const GlobalOptions& options) {
  json::object roles;
  std::string line;
  const auto states = role_states(options);
  for (const RoleState& state : states) {
    json::object one;
    one["running"] = state.alive;
    if (state.alive) {
      one["pid"] = state.process->pid;
      one["seconds"] = age_s(*state.process);
    }
    roles[state.name] = std::move(one);
    const std::string text = state.alive ? fmt::format("{} (pid {}, for {})", state.name, state.process->pid,
                                                       format_duration(age_s(*state.process)))
                                         : state.name + " (not running)";
    line += (line.empty() ? "" : ", ") + text;
    if (state.alive || !states[0].alive) continue;
    report.problem(fmt::format("the role {} does not run; the supervisor starts it again, its log says why it ended",
                               state.name), kExitOther);
  }
  report.facts["processes"] = std::move(roles);
  report.fields.emplace_back("processes", line);
  if (!states[0].alive)
    report.problem(states[0].process ? fmt::format("atolld does not run: pid {} of {}/atolld.pid has ended; start it "
                                                   "with: atoll start", states[0].process->pid, options.run)
                                     : fmt::format("atolld does not run: {}/atolld.pid is missing; start it with: "
                                                   "atoll start", options.run),
                   kExitUnreachable);
}

void report_host(Report& report) {
  utsname name{};
  ::uname(&name);
  struct sysinfo info {};
  ::sysinfo(&info);
  const double scale = 1 << SI_LOAD_SHIFT;
  const std::uint64_t unit = info.mem_unit;
  json::object host;
  host["name"] = name.nodename;
  host["kernel"] = fmt::format("{} {}", name.sysname, name.release);
  host["cpus"] = ::get_nprocs();
  host["memoryBytes"] = info.totalram * unit;
  host["freeMemoryBytes"] = (info.freeram + info.bufferram) * unit;
  host["load1"] = info.loads[0] / scale;
  report.facts["host"] = std::move(host);
  report.fields.emplace_back("host", fmt::format("{}, {} {}, {} CPUs, {} memory, load {:.2f}", printable(name.nodename),
                                                 name.sysname, name.release, ::get_nprocs(),
                                                 format_bytes(info.totalram * unit), info.loads[0] / scale));
}

void report_api(Report& report, const json::value& status) {
  report.facts["daemon"] = status;
  const auto add = [&report](const char* title, std::string text) { report.fields.emplace_back(title, printable(text)); };
  add("version", text_field(status, "version"));
  const auto at = [&status](const char* part, const char* key) {
    const json::value* found = member_of(status, part);
    return found ? text_field(*found, key) : std::string();
  };
  add("sandboxes", fmt::format("{} running: {} CPUs, {} MB memory", at("sandboxes", "running"), at("sandboxes", "vcpus"),
                               at("sandboxes", "memoryMB")));
  const json::value* project = member_of(status, "project");
  const json::value* quota = project ? member_of(*project, "quota") : nullptr;
  if (quota)
    add("project", fmt::format("{} ({}); at most {} sandboxes, {} CPUs, {} MB memory, {} creates a minute",
                               text_field(*project, "name"), text_field(*project, "id"), text_field(*quota, "sandboxes"),
                               text_field(*quota, "vcpus"), text_field(*quota, "memoryMB"),
                               text_field(*quota, "createsPerMinute")));
  add("templates", text_field(status, "templates"));
  const json::value* roles = member_of(status, "roles");
  const std::string node = roles ? text_field(*roles, "node") : "";
  if (!node.empty() && node != "connected")
    report.problem(fmt::format("the api says that the node is {}: no sandbox can start", node), kExitOther);
}

Task<void> report_endpoint(Context& context, Report& report) {
  const auto endpoint = find_endpoint(context.global, context.environment);
  if (!endpoint.ok()) {
    report.problem(endpoint.error().message, exit_code_for(endpoint.error()));
    co_return;
  }
  report.facts["endpoint"] = endpoint->url();
  const auto credentials = find_credentials(context.global, context.environment);
  Backend backend(context.executor, *endpoint, credentials.ok() ? credentials->api_key : "");
  const auto health = co_await backend.rest("GET", "/health", std::nullopt, kAnswerDeadline);
  report.facts["answers"] = health.ok();
  report.fields.emplace_back("endpoint", endpoint->url() + (health.ok() ? " (answers)" : " (no answer)"));
  if (!health.ok()) {
    report.problem(health.error().message, exit_code_for(health.error()));
    co_return;
  }
  if (!credentials.ok()) {
    report.problem(credentials.error().message, exit_code_for(credentials.error()));
    co_return;
  }
  const auto status = co_await backend.rest("GET", "/atoll/v1/status", std::nullopt, kAnswerDeadline);
  if (status.ok()) report_api(report, status->body);
  else report.problem(status.error().message, exit_code_for(status.error()));
}

}  // namespace

Task<Result<int>> execute(Context& context, StatusOptions options) {
  Report report;
  co_await report_endpoint(context, report);
  if (is_local(context)) {
    report_roles(report, context.global);
    report_host(report);
  }
  if (options.as_json) {
    json::array problems;
    for (const std::string& problem : report.problems) problems.emplace_back(problem);
    report.facts["problems"] = std::move(problems);
    CO_CHECK_OK(co_await context.print(json_text(report.facts) + "\n"));
    co_return report.exit_code;
  }
  CO_CHECK_OK(co_await context.print(render_fields(report.fields)));
  for (const std::string& problem : report.problems) co_await context.note(problem);
  co_return report.exit_code;
}

}  // namespace atl::cli
