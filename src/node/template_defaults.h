#pragma once
#include <string_view>

#include "isolation/driver.h"
#include "rootfs/template.h"

namespace atl::node {

// A folder's name, as templates have: [a-z0-9_.-]{1,128}, no leading dot, no "..".
bool valid_template_name(std::string_view name);

// The limits that a create leaves open: the template's, then the tier's own defaults.
isolation::Limits default_limits(const rootfs::Template& base);

}  // namespace atl::node
