#include "atolld/front_door.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>

#include "base/log.h"
#include "rpc/acceptor.h"

namespace atl::atolld {
namespace {

// One packet with one descriptor. The peer's queue is empty or its reader alive, so there is room.
Status send_packet(int socket, const std::string& text, int fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec io{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return os_error("sendmsg", "edge");
  return ok();
}

}  // namespace

FrontDoor::FrontDoor(const Config& config)
    : config_(config), authority_{config.paths.tls_dir(config.domain)} {}

std::string FrontDoor::certificate() const {
  return is_local() ? authority_.certificate() : config_.tls_certificate;
}
std::string FrontDoor::key() const {
  return is_local() ? authority_.key() : config_.tls_key;
}

Status FrontDoor::open() {
  if (!wanted()) return ok();
  const auto now = std::chrono::system_clock::now();
  if (is_local()) {
    TRY(const bool made, tls::ensure_local_identity(authority_, config_.domain, now));
    if (made) log_info("local authority made a certificate", {{"trust", authority_.ca_certificate()}});
    renewal_at_ = now + kRenewalEvery;
  }
  loaded_ = seen_ = stamps();
  TRY(identity_, tls::read_identity(certificate(), key()));
  const auto usable = tls::check_usable(identity_, config_.domain, now);
  if (!usable.ok()) return with_context(usable.error(), certificate());
  TRY(rpc::Listening listening, rpc::listen_on(config_.tls_listen_host, config_.tls_port));
  listener_ = std::move(listening.fd);
  return ok();
}

Status FrontDoor::send_identity(int to) const {
  TRY(const UniqueFd memory, tls::to_memory(identity_));
  return send_packet(to, R"({"type":"identity"})", memory.get());
}

Result<UniqueFd> FrontDoor::connect_edge() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return os_error("socketpair", "edge");
  edge_ = UniqueFd(ends[0]);
  UniqueFd theirs(ends[1]);
  CHECK_OK(send_packet(edge_.get(), R"({"type":"listener"})", listener_.get()));
  CHECK_OK(send_identity(edge_.get()));
  return theirs;
}

FrontDoor::Stamps FrontDoor::stamps() const {
  Stamps out{};
  const std::string paths[] = {certificate(), key()};
  for (std::size_t i = 0; i < out.size(); ++i) {
    struct stat info {};
    if (::stat(paths[i].c_str(), &info) != 0) continue;
    out[i] = {info.st_dev, info.st_ino, static_cast<std::uint64_t>(info.st_size),
              info.st_ctim.tv_sec * 1'000'000'000ll + info.st_ctim.tv_nsec};
  }
  return out;
}

void FrontDoor::renew(std::chrono::system_clock::time_point now) {
  if (!is_local() || now < renewal_at_) return;
  renewal_at_ = now + kRenewalEvery;
  const auto made = tls::ensure_local_identity(authority_, config_.domain, now);
  if (!made.ok()) log_error("certificate cannot be renewed", {{"error", made.error().message}});
  if (made.ok() && *made) log_info("local authority renewed the certificate");
}

void FrontDoor::look(std::chrono::system_clock::time_point now, bool at_once) {
  if (!wanted()) return;
  renew(now);
  const Stamps present = stamps();
  // Two files are not written in one moment: those that have just changed are looked at again.
  const bool still = present == seen_;
  seen_ = present;
  if (!at_once && (present == loaded_ || !still)) return;
  loaded_ = present;
  reload();
}

// A bad pair is kept from the edge, so that it does no harm to the next one either.
void FrontDoor::reload() {
  auto fresh = tls::read_identity(certificate(), key());
  Status usable = fresh.ok() ? tls::check_usable(*fresh, config_.domain, std::chrono::system_clock::now())
                             : Status(fresh.error());
  if (!usable.ok()) {
    log_error("certificate refused; the one before stays in use", {{"error", usable.error().message}});
    return;
  }
  identity_ = std::move(*fresh);
  if (!edge_.valid()) return;
  const auto sent = send_identity(edge_.get());
  if (!sent.ok()) log_warn("certificate not passed to the edge", {{"error", sent.error().message}});
}

}  // namespace atl::atolld
