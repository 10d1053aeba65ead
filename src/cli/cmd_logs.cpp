#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>

#include "cli/commands.h"
#include "cli/exits.h"
#include "cli/fields.h"
#include "cli/log_view.h"
#include "cli/text.h"

namespace atl::cli {
namespace {

constexpr Millis kPollInterval{1'000};

// Waits, or returns at once when a signal came.
Task<void> pause(Context& context) {
  if (context.interrupts.received() != 0) co_return;
  auto timer = std::make_shared<asio::steady_timer>(context.executor, kPollInterval);
  context.interrupts.on_interrupt([timer](int) { timer->cancel(); });
  co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
  context.interrupts.on_interrupt(nullptr);
}

Task<Status> show_new(Context& context, Backend& backend, LogCursor& cursor, const std::string& id, bool as_json) {
  const bool colour = context.console.colour(Stream::out);
  do {
    CO_TRY(const auto reply, co_await backend.rest("GET", cursor.target(id)));
    CO_TRY(const auto entries, cursor.take(reply.body));
    std::string text;
    for (const json::value& entry : entries) text += as_json ? json_text(entry) + "\n" : render_log_entry(entry, colour);
    CO_CHECK_OK(co_await context.print(std::move(text)));
  } while (cursor.more() && context.interrupts.received() == 0);
  co_return ok();
}

// Whether lines can still come. A daemon that is away for a moment (a restart) is no end.
Task<bool> is_over(Backend& backend, const std::string& id) {
  const auto detail = co_await backend.detail(id);
  if (!detail.ok()) co_return detail.error().code == Errc::not_found;
  const json::value* atoll = member_of(*detail, "atoll");
  const std::string state = atoll ? text_field(*atoll, "state") : "running";
  co_return state == "ended";
}

}  // namespace

Task<Result<int>> execute(Context& context, LogsOptions options) {
  CO_TRY(const auto backend, context.connect());
  CO_CHECK_OK(check_id(options.id));
  LogCursor cursor;
  CO_CHECK_OK(co_await show_new(context, *backend, cursor, options.id, options.as_json));
  while (options.follow && context.interrupts.received() == 0) {
    const bool over = co_await is_over(*backend, options.id);
    const Status shown = co_await show_new(context, *backend, cursor, options.id, options.as_json);
    if (over) co_return kExitOk;
    if (!shown.ok() && shown.error().code != Errc::unavailable) co_return shown.error();
    co_await pause(context);
  }
  const int signal = context.interrupts.received();
  co_return signal == 0 ? static_cast<int>(kExitOk) : 128 + signal;
}

}  // namespace atl::cli
