#include "agent/process/event_stream.h"

#include <algorithm>

namespace atl::agent {
namespace {

struct Stream {
  StreamWriter writer;
  std::shared_ptr<Process> process;
  std::shared_ptr<Subscriber> reader;
  Wakeup::TimePoint deadline;
  Millis keepalive;
  const Clock& clock;
  std::string batch;
};

// One step of the stream. A value: it has ended, and so.
Task<std::optional<Status>> step(Stream& s, Wakeup::TimePoint quiet_until) {
  Subscriber& reader = *s.reader;
  if (s.clock.steady() >= s.deadline)
    co_return Status(
        make_error(Errc::deadline, "the time that the client allowed (Connect-Timeout-Ms) has run out"));
  s.batch.clear();
  if (reader.take_batch(s.batch, s.writer.codec())) {
    s.process->reader_took();
  } else if (reader.cut) {
    co_return Status(make_error(
        Errc::exhausted, "this reader took no output while others waited: connect to the process again"));
  } else if (reader.end) {
    append_end_event(s.batch, s.writer.codec(), *reader.end);
    const Status sent = co_await s.writer.send_envelopes(s.batch);
    co_return sent;
  } else if (s.clock.steady() >= quiet_until) {
    append_keepalive_event(s.batch, s.writer.codec());
  } else {
    co_await reader.wakeup.wait_until(std::min(quiet_until, s.deadline));
    co_return std::nullopt;
  }
  Status sent = co_await s.writer.send_envelopes(s.batch);
  if (!sent.ok()) co_return std::move(sent);
  co_return std::nullopt;
}

Task<void> run(Stream& s) {
  append_start_event(s.batch, s.writer.codec(), static_cast<std::uint32_t>(s.process->pid()));
  const Status started = co_await s.writer.send_envelopes(s.batch);
  if (!started.ok()) co_return;
  auto quiet_until = s.clock.steady() + s.keepalive;
  while (!s.reader->gone) {
    auto ended = co_await step(s, quiet_until);
    if (ended) {
      if (!s.reader->gone) (void)co_await s.writer.finish(std::move(*ended));
      co_return;
    }
    if (!s.batch.empty()) quiet_until = s.clock.steady() + s.keepalive;
  }
}

}  // namespace

Task<void> stream_events(rpc::Exchange& exchange, Codec codec, std::shared_ptr<Process> process,
                         std::shared_ptr<Subscriber> reader, std::optional<Wakeup::TimePoint> deadline,
                         const Clock& clock) {
  exchange.on_gone([reader] {
    reader->gone = true;
    reader->wakeup.notify();
  });
  Stream stream{StreamWriter(exchange, codec),
                process,
                reader,
                deadline.value_or(Wakeup::kNever),
                keepalive_interval(exchange.request().headers),
                clock,
                {}};
  if (!exchange.gone()) co_await run(stream);
  process->detach(reader);
}

}  // namespace atl::agent
