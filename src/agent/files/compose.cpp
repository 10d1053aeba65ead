#include "agent/files/compose.h"

#include <fcntl.h>
#include <unistd.h>

#include "agent/files/file_open.h"
#include "agent/files/guest_path.h"
#include "agent/files/request.h"
#include "agent/files/tree_copy.h"
#include "agent/files/tree_ops.h"
#include "base/blocking.h"
#include "base/crypto.h"
#include "base/json.h"
#include "fmt/format.h"

namespace atl::agent {
namespace {

constexpr std::size_t kBodyBytesMax = 1u << 20;
constexpr std::size_t kSourcesMax = 10'000;

struct Order {
  std::vector<std::string> sources;
  std::string destination;
  std::string username;
};

Result<Order> parse_order(const AgentContext& context, std::string_view text) {
  TRY(json::value value, parse_json(text));
  JsonReader reader(value);
  CHECK_OK(reader.require_object());
  Order order;
  TRY(order.sources, reader.strings("source_paths", kSourcesMax));
  TRY(auto destination, reader.opt_string("destination"));
  TRY(auto username, reader.opt_string("username"));
  if (order.sources.empty()) return make_error(Errc::invalid, "source_paths must not be empty");
  if (!destination || destination->empty()) return make_error(Errc::invalid, "destination is required");
  order.destination = std::move(*destination);
  order.username = user_name_or_default(context, username);
  return order;
}

// A file under a temporary name, gone again unless it is renamed.
class Temporary {
 public:
  Temporary(const Spot& spot) : spot_(spot), name_(".e2b-compose." + random_hex(8) + ".tmp") {}
  ~Temporary() {
    if (made_) ::unlinkat(spot_.dir.get(), name_.c_str(), 0);
  }
  Temporary(const Temporary&) = delete;

  Result<UniqueFd> make(Owner owner) {
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    UniqueFd fd(::openat(spot_.dir.get(), name_.c_str(), flags, 0666));
    if (!fd.valid()) return os_error("create", utf8_text(spot_.real_path));
    made_ = true;
    if (::fchown(fd.get(), owner.uid, owner.gid) != 0) return os_error("chown", utf8_text(spot_.real_path));
    return fd;
  }
  Status rename_over() {
    if (::renameat(spot_.dir.get(), name_.c_str(), spot_.dir.get(), spot_.name.c_str()) != 0)
      return os_error("rename", utf8_text(spot_.real_path));
    made_ = false;
    return ok();
  }

 private:
  const Spot& spot_;
  std::string name_;
  bool made_ = false;
};

// Blocking. All sources are looked at before anything is made. The reply's path.
Result<std::string> join_files(const Order& order, const std::string& default_workdir) {
  TRY(Caller caller, load_caller(order.username));
  TRY(std::string destination, expand_path(order.destination, caller.user, default_workdir));
  std::vector<std::string> sources;
  for (const auto& source : order.sources) {
    TRY(std::string path, expand_path(source, caller.user, default_workdir));
    if (path == destination)
      return make_error(Errc::invalid,
                        fmt::format("source path '{}' cannot be the same as destination", utf8_text(source)));
    TRY(OpenFile looked_at, open_for_read(path, caller.walking()));
    sources.push_back(std::move(path));
  }
  WalkOptions making = caller.walking();
  making.make_parents = caller.owner();
  TRY(Spot spot, walk(destination, making));
  if (spot.is_dir())
    return make_error(Errc::invalid, fmt::format("path is a directory: {}", utf8_text(destination)));
  CHECK_OK(spot.may_change_entry());
  Temporary temporary(spot);
  TRY(UniqueFd out, temporary.make(caller.owner()));
  for (const auto& source : sources) {
    TRY(OpenFile in, open_for_read(source, caller.walking()));
    CHECK_OK(copy_bytes(in.fd.get(), out.get()));
  }
  CHECK_OK(temporary.rename_over());
  // The whole is in place; a part that cannot be removed is only left over.
  for (const auto& source : sources) (void)remove_entry(source, caller.walking());
  return destination;
}

Task<Result<std::string>> run(AgentContext& context, rpc::Exchange& exchange) {
  if (!context.token_matches(exchange.request().headers))
    co_return make_error(Errc::unauthenticated, "unauthorized access, please provide a valid access token");
  auto body = co_await rpc::read_all(exchange.body(), kBodyBytesMax);
  if (!body.ok()) co_return std::move(body).error();
  CO_TRY(Order order, parse_order(context, *body));
  auto work = [order = std::move(order), folder = context.boot.default_workdir] {
    return join_files(order, folder);
  };
  co_return co_await run_blocking(context.pool, std::move(work));
}

}  // namespace

Task<void> compose(AgentContext& context, rpc::Exchange& exchange) {
  auto joined = co_await run(context, exchange);
  if (!joined.ok()) {
    co_await reply_files_error(exchange, std::move(joined).error());
    co_return;
  }
  rpc::ReplyHead head;
  head.headers.add("content-type", "application/json");
  std::string body = json::serialize(written_json(*joined, {}));
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

}  // namespace atl::agent
