#include "control/host_facts.h"
#include "control/testing/harness.h"

namespace atl::control::testing {
namespace {

TEST(HostFacts, CpuTimesAreSharesOfTheTimeBetweenReadings) {
  const CpuTimes before = parse_cpu_times("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1\n");
  EXPECT_EQ(before.busy, 200u);
  EXPECT_EQ(before.total, 1000u);
  const CpuTimes now = parse_cpu_times("cpu  130 0 100 850 10 5 5 0 30 0\n");
  EXPECT_EQ(cpu_percent(before, now), 40);
  EXPECT_EQ(cpu_percent(now, now), 0);
  EXPECT_EQ(cpu_percent(now, before), 0);
  EXPECT_EQ(parse_cpu_times("intr 5").total, 0u);
}

TEST(HostFacts, NamesAndMemory) {
  HostFacts host;
  parse_cpu_names("processor\t: 0\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Some CPU @ 2 GHz\nflags :\n\nmodel name\t: other\n", host);
  EXPECT_EQ(host.cpu_family + "/" + host.cpu_model + "/" + host.cpu_model_name, "6/143/Some CPU @ 2 GHz");
  parse_memory("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  400 kB\nHugePages_Total:  8\nHugePages_Free: 5\n"
               "HugePages_Rsvd: 1\nHugepagesize:  2048 kB\n", host);
  EXPECT_EQ(host.memory_total_bytes, 1000u << 10);
  EXPECT_EQ(host.memory_used_bytes, 600u << 10);
  EXPECT_EQ(host.huge_pages_used, 3u);
  EXPECT_EQ(host.huge_page_size_bytes, 2u << 20);
}

TEST(HostFacts, TheMountWithTheLongestPrefix) {
  const std::string_view table =
      "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
      "30 22 8:2 / /var/lib rw - xfs /dev/sdb1 rw\n"
      "31 22 8:3 / /var/li rw - xfs /dev/sdc1 rw\n"
      "32 22 8:4 / /var/lib/a\\040b rw - btrfs /dev/sdd1 rw\n"
      "garbage\n";
  EXPECT_EQ(parse_mount_of(table, "/var/lib/atoll").device, "/dev/sdb1");
  EXPECT_EQ(parse_mount_of(table, "/var/lib/a b/c").fs_type, "btrfs");
  EXPECT_EQ(parse_mount_of(table, "/etc").mount_point, "/");
}

TEST(Nodes, ThisHostWithItsNumbers) {
  Harness h;
  h.start();
  h.create();
  h.create("beta");
  const Seen list = h.call("GET", "/nodes");
  ASSERT_EQ(list.status, 200) << list.text;
  ASSERT_EQ(list.body.as_array().size(), 1u);
  const json::object node = list.body.at(0).as_object();
  EXPECT_EQ(node.at("status").as_string(), "ready");
  EXPECT_EQ(node.at("sandboxCount").as_int64(), 2);
  EXPECT_EQ(node.at("createSuccesses").as_int64(), 2);
  EXPECT_EQ(node.at("sandboxStartingCount").as_int64(), 0);
  EXPECT_EQ(node.at("metrics").at("allocatedCPU").as_int64(), 4);
  EXPECT_EQ(node.at("metrics").at("allocatedMemoryBytes").as_int64(), 2 * (512ll << 20));
  EXPECT_GT(node.at("metrics").at("memoryTotalBytes").to_number<std::int64_t>(), 0);
  EXPECT_EQ(node.at("metrics").at("disks").as_array().size(), 1u);
  const std::string id(node.at("id").as_string());
  const Seen one = h.call("GET", "/nodes/" + id);
  EXPECT_EQ(one.body.at("cachedBuilds").at(0).as_string(), "b1");
  EXPECT_EQ(h.call("GET", "/nodes/none").status, 404);
  EXPECT_EQ(h.call("GET", "/nodes?clusterID=other").text, "[]");
  EXPECT_EQ(h.call("POST", "/nodes/" + id, R"({"status":"draining"})").status, 501);
  h.restart();
  EXPECT_EQ(h.call("GET", "/nodes/" + id).status, 200) << "the same id after a restart";
}

}  // namespace
}  // namespace atl::control::testing
