#include "agent/files/files_service.h"

#include "agent/files/compose.h"
#include "agent/files/download.h"
#include "agent/files/entry_info.h"
#include "agent/files/guest_path.h"
#include "agent/files/request.h"
#include "agent/files/tree_ops.h"
#include "agent/files/upload.h"
#include "agent/files/watchers.h"
#include "base/blocking.h"

namespace atl::agent {
namespace {

// The unary methods' blocking halves: each gets the caller, a path that is absolute already, and the
// default working folder for any further path.
struct Place {
  Caller caller;
  std::string path;
  std::string default_workdir;
  WalkOptions options;
};

Result<filesystem::StatResponse> do_stat(const Place& at, const filesystem::StatRequest&) {
  filesystem::StatResponse reply;
  TRY(*reply.mutable_entry(), stat_entry(at.path, *at.caller.users, at.options));
  return reply;
}

Result<filesystem::MakeDirResponse> do_make_dir(const Place& at, const filesystem::MakeDirRequest&) {
  CHECK_OK(make_dir(at.path, at.options, at.caller.owner()));
  filesystem::MakeDirResponse reply;
  TRY(*reply.mutable_entry(), stat_entry(at.path, *at.caller.users, at.options));
  return reply;
}

Result<filesystem::MoveResponse> do_move(const Place& at, const filesystem::MoveRequest& request) {
  TRY(std::string destination, expand_path(request.destination(), at.caller.user, at.default_workdir));
  CHECK_OK(move_entry(at.path, destination, at.options, at.caller.owner()));
  filesystem::MoveResponse reply;
  TRY(*reply.mutable_entry(), stat_entry(destination, *at.caller.users, at.options));
  return reply;
}

Result<filesystem::ListDirResponse> do_list(const Place& at, const filesystem::ListDirRequest& request) {
  TRY(auto entries, list_dir(at.path, request.depth(), *at.caller.users, at.options));
  filesystem::ListDirResponse reply;
  for (auto& entry : entries) *reply.add_entries() = std::move(entry);
  return reply;
}

Result<filesystem::RemoveResponse> do_remove(const Place& at, const filesystem::RemoveRequest&) {
  CHECK_OK(remove_entry(at.path, at.options));
  return filesystem::RemoveResponse();
}

const std::string& path_of(const filesystem::MoveRequest& request) {
  return request.source();
}
template <class Request>
const std::string& path_of(const Request& request) {
  return request.path();
}

template <class Request, class Reply>
Task<void> unary(AgentContext& context, rpc::Exchange& exchange, Codec codec,
                 Result<Reply> (*method)(const Place&, const Request&)) {
  Request request;
  if (!co_await read_unary(exchange, codec, request, &context.pool)) co_return;
  const auto named = basic_user(exchange.request().headers);
  // The reply is written out on the pool too: a long listing would hold up the loop.
  auto work = [method, request = std::move(request), name = user_name_or_default(context, named),
               folder = context.boot.default_workdir, codec]() -> Result<std::string> {
    TRY(Caller caller, load_caller(name));
    TRY(std::string path, expand_path(path_of(request), caller.user, folder));
    WalkOptions options = caller.walking();
    TRY(Reply reply, method(Place{std::move(caller), std::move(path), folder, std::move(options)}, request));
    return serialise_message(reply, codec);
  };
  auto body = co_await run_blocking(context.pool, std::move(work));
  if (!body.ok()) {
    co_await reply_error(exchange, body.error());
    co_return;
  }
  rpc::ReplyHead head;
  head.headers.add("content-type", codec == Codec::json ? "application/json" : "application/proto");
  std::string bytes = std::move(body).value();
  (void)co_await exchange.reply(std::move(head), std::move(bytes));
}

}  // namespace

FilesService::FilesService(AgentContext& context)
    : context_(context), watchers_(std::make_unique<Watchers>(context)) {}
FilesService::~FilesService() = default;

Task<void> FilesService::handle_rpc(rpc::Exchange& exchange, std::string_view method, Codec codec) {
  if (method == "Stat") co_return co_await unary(context_, exchange, codec, do_stat);
  if (method == "MakeDir") co_return co_await unary(context_, exchange, codec, do_make_dir);
  if (method == "Move") co_return co_await unary(context_, exchange, codec, do_move);
  if (method == "ListDir") co_return co_await unary(context_, exchange, codec, do_list);
  if (method == "Remove") co_return co_await unary(context_, exchange, codec, do_remove);
  if (method == "WatchDir") co_return co_await watchers_->watch_dir(exchange, codec);
  if (method == "CreateWatcher") co_return co_await watchers_->create_watcher(exchange, codec);
  if (method == "GetWatcherEvents") co_return co_await watchers_->get_events(exchange, codec);
  if (method == "RemoveWatcher") co_return co_await watchers_->remove_watcher(exchange, codec);
  const Error unknown =
      make_error(Errc::unsupported, "the Filesystem service has no method '" + std::string(method) + "'");
  co_await reply_error(exchange, unknown);
}

Task<void> FilesService::handle_http(rpc::Exchange& exchange, const rpc::Target& target) {
  const std::string_view verb = exchange.request().method, path = target.raw_path;
  if (path == "/files" && verb == "GET") co_return co_await download(context_, exchange, target);
  if (path == "/files" && verb == "POST") co_return co_await upload(context_, exchange, target);
  if (path == "/files/compose" && verb == "POST") co_return co_await compose(context_, exchange);
  const bool known = path == "/files" || path == "/files/compose";
  if (known) {
    co_await reply_plain_error(exchange, 405,
                               "method not allowed: /files takes GET and POST, /files/compose POST");
  } else {
    co_await reply_plain_error(exchange, 404, "no such path");
  }
}

}  // namespace atl::agent
