#include "base/log.h"
#include "control/create_request.h"
#include "control/routes.h"
#include "control/shapes.h"

namespace atl::control {

Task<Answer> get_sandbox(Call& call) {
  const Found found = running_sandbox(call);
  if (!found.entry) co_return found.missing;
  co_return json_answer(200, detail_shape(call.core, found.entry->row));
}

Task<Answer> kill_sandbox(Call& call) {
  const Found found = running_sandbox(call);
  if (!found.entry) co_return found.missing;
  const auto ended = co_await end_sandbox(call.core, found.entry, "killed");
  if (!ended.ok()) co_return failure(ended.error());
  co_return no_content();
}

Task<Answer> put_network(Call& call) {
  auto body = co_await call.body();
  if (!body.ok()) co_return failure(body.error());
  auto asked = parse_network_update(*body);
  if (!asked.ok()) co_return invalid(asked.error());
  const Found found = running_sandbox(call);
  if (!found.entry) co_return found.missing;
  store::Sandbox row = found.entry->row;
  row.deny_out = std::move(asked->deny_out);
  call.core.index.update(found.entry, row);
  auto write = [row = std::move(row)](store::Store& s) { return s.save(row, {}); };
  const auto written = co_await call.core.on_store(std::move(write));
  if (!written.ok()) co_return failure(written.error());
  co_return no_content();
}

Task<Answer> not_built_sandbox(Call& call) {
  const Found found = running_sandbox(call);
  if (!found.entry) co_return found.missing;
  co_return co_await not_built(call);
}

Task<Answer> not_built(Call& call) {
  co_return failure(501, std::string(call.not_built) + " is not available yet in this version of Atoll");
}

}  // namespace atl::control
