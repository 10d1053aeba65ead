#pragma once
#include "base/json.h"
#include "control/core.h"

namespace atl::control {

// E2B's shapes of a sandbox, each with a member `atoll` of our own.

// Sandbox: the reply of create and connect. It depends on the row's creation alone, so that a repeat
// of a create is answered with the same bytes.
json::object sandbox_shape(const Core& core, const store::Sandbox& row);
json::object detail_shape(const Core& core, const store::Sandbox& row);
json::object listed_shape(const store::Sandbox& row);  // without the receipt: pages stay small
json::object atoll_shape(const store::Sandbox& row, bool with_receipt);

json::object metric_shape(const pb::Sample& sample);
json::object template_shape(const Core& core, const Template& one);
json::object own_template_shape(const Template& one);  // Atoll's own listing
json::object template_with_builds_shape(const Core& core, const Template& one);
json::object key_shape(const store::ApiKey& key);

}  // namespace atl::control
