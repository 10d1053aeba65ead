#pragma once
#include <functional>
#include <string>

#include "isolation/driver.h"

namespace atl::isolation {

// A driver's probe: a tiny sandbox of its own, whose process 1 must send its preface.
//
//   <state_dir>/<prefix><random>/   templates/, layers/, channel/, boot.log; gone with the trial
struct Trial {
  std::string dir, token;
  Spec spec;  // lacks template_dir until the trial is run
};

// `prefix`: [a-z0-9]+, no other sandbox's id begins with it.
Trial new_trial(const std::string& state_dir, const std::string& prefix, const Limits& limits, std::uint32_t uid_base,
                const std::string& agent_path);

// The driver's own.
struct TrialSteps {
  std::function<Status(const Spec&)> start;
  std::function<Status(const std::string& id)> destroy;
};
// Removes what a trial left that was cut off by the node's end, runs this one, waits up to
// `within_ms` for the preface, and removes it, whatever came of it.
// On failure the error says what was tried; nothing is left.
Status run_trial(Trial trial, const std::string& prefix, const TrialSteps& steps, int within_ms);

}  // namespace atl::isolation
