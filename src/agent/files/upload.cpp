#include "agent/files/upload.h"

#include <algorithm>

#include "agent/files/file_open.h"
#include "agent/files/file_writer.h"
#include "agent/files/guest_path.h"
#include "agent/files/gzip.h"
#include "agent/files/request.h"
#include "agent/files/signature.h"
#include "base/blocking.h"
#include "fmt/format.h"
#include "rpc/multipart.h"

namespace atl::agent {
namespace {

class PartSource : public rpc::ByteSource {
 public:
  explicit PartSource(rpc::MultipartReader& reader) : reader_(reader) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override { return reader_.read_some(into); }

 private:
  rpc::MultipartReader& reader_;
};

// Each read of the request's own bytes has the idle deadline; what sits above needs none.
class BoundedSource : public rpc::ByteSource {
 public:
  BoundedSource(rpc::ByteSource& source, Millis idle) : source_(source), idle_(idle) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override {
    return read_within(source_, into, idle_);
  }

 private:
  rpc::ByteSource& source_;
  Millis idle_;
};

std::string_view media_type(std::string_view field) {
  field = field.substr(0, field.find(';'));
  while (!field.empty() && (field.back() == ' ' || field.back() == '\t')) field.remove_suffix(1);
  return field;
}

class Upload {
 public:
  Upload(AgentContext& context, Caller caller, Metadata metadata, std::optional<std::string> path)
      : context_(context),
        caller_(std::move(caller)),
        metadata_(std::move(metadata)),
        path_(std::move(path)) {}

  Task<Status> octets(rpc::ByteSource& body) {
    if (!path_) co_return make_error(Errc::invalid, "path query parameter is required for raw body upload");
    std::string path = *path_;
    co_return co_await one(std::move(path), body);
  }

  Task<Status> parts(rpc::ByteSource& body, std::string boundary) {
    rpc::MultipartReader reader(body, std::move(boundary));
    for (;;) {
      auto part = co_await reader.next();
      if (!part.ok()) co_return std::move(part).error();
      if (!part->has_value()) co_return ok();
      if ((*part)->name != "file") continue;
      if (!path_ && (!(*part)->filename || (*part)->filename->empty()))
        co_return make_error(Errc::invalid,
                             "a part named 'file' has no file name, and the query names no path");
      std::string path = path_ ? *path_ : *(*part)->filename;
      PartSource source(reader);
      Status written = co_await one(std::move(path), source);
      CO_CHECK_OK(std::move(written));
    }
  }

  std::string reply() const {
    json::array list;
    for (const auto& path : written_) list.push_back(written_json(path, metadata_));
    return json::serialize(list);
  }

 private:
  Task<Status> one(std::string path, rpc::ByteSource& source) {
    CO_TRY(std::string full, expand_path(path, caller_.user, context_.boot.default_workdir));
    CO_CHECK_OK(not_twice(full));
    auto work = [full, options = caller_.walking(), owner = caller_.owner()] {
      return open_for_upload(full, options, owner);
    };
    auto file = co_await run_blocking(context_.pool, std::move(work));
    if (!file.ok()) co_return std::move(file).error();
    Metadata metadata = metadata_;
    OpenFile opened = std::move(file).value();
    Status written = co_await write_all(context_, source, std::move(opened), std::move(metadata));
    if (!written.ok())
      co_return with_context(std::move(written).error(), fmt::format("'{}'", utf8_text(full)));
    written_.push_back(std::move(full));
    co_return ok();
  }

  Status not_twice(const std::string& path) const {
    if (std::find(written_.begin(), written_.end(), path) == written_.end()) return ok();
    return make_error(Errc::invalid,
                      fmt::format("you cannot upload multiple files to the same path '{}' in one upload "
                                  "request, only the first specified file was uploaded",
                                  utf8_text(path)));
  }

  AgentContext& context_;
  Caller caller_;
  Metadata metadata_;
  std::optional<std::string> path_;
  std::vector<std::string> written_;
};

// The body as the request's Content-Encoding means it; nullptr in `plain` where it is plain.
Status open_encoding(std::string_view encoding, rpc::ByteSource& body,
                     std::unique_ptr<GunzipSource>& unpacked) {
  if (encoding.empty() || rpc::iequals(encoding, "identity")) return ok();
  if (!rpc::iequals(encoding, "gzip") && !rpc::iequals(encoding, "x-gzip"))
    return make_error(Errc::invalid,
                      fmt::format("unsupported Content-Encoding '{}': uploads come as gzip or identity",
                                  utf8_text(encoding)));
  unpacked = std::make_unique<GunzipSource>(body);
  return ok();
}

Task<Result<std::string>> take(AgentContext& context, rpc::Exchange& exchange, const rpc::Target& target,
                               Millis idle) {
  const auto& headers = exchange.request().headers;
  CO_CHECK_OK(check_file_access(context, headers, target, FileOperation::write));
  CO_TRY(Metadata metadata, metadata_of(headers));
  BoundedSource bounded(exchange.body(), idle);
  std::unique_ptr<GunzipSource> unpacked;
  CO_CHECK_OK(open_encoding(headers.get_or("content-encoding", ""), bounded, unpacked));
  rpc::ByteSource& body = unpacked ? static_cast<rpc::ByteSource&>(*unpacked) : bounded;

  std::optional<std::string> named(target.param("username"));
  auto look_up = [name = user_name_or_default(context, named)] { return load_caller(name); };
  auto caller = co_await run_blocking(context.pool, std::move(look_up));
  if (!caller.ok()) co_return std::move(caller).error();

  std::optional<std::string> path(target.param("path"));
  Upload upload(context, std::move(caller).value(), std::move(metadata), std::move(path));
  const std::string_view type = headers.get_or("content-type", "");
  Status done = ok();
  if (rpc::iequals(media_type(type), "application/octet-stream")) {
    done = co_await upload.octets(body);
  } else if (auto boundary = rpc::MultipartReader::boundary_of(type)) {
    done = co_await upload.parts(body, std::move(*boundary));
  } else {
    co_return make_error(Errc::invalid,
                         fmt::format("unsupported content type: {}, expected multipart/form-data or "
                                     "application/octet-stream",
                                     utf8_text(type)));
  }
  CO_CHECK_OK(std::move(done));
  co_return upload.reply();
}

}  // namespace

Task<void> upload(AgentContext& context, rpc::Exchange& exchange, const rpc::Target& target, Millis idle) {
  auto taken = co_await take(context, exchange, target, idle);
  if (!taken.ok()) {
    co_await reply_files_error(exchange, std::move(taken).error());
    co_return;
  }
  rpc::ReplyHead head;
  head.headers.add("content-type", "application/json");
  std::string body = std::move(taken).value();
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

}  // namespace atl::agent
