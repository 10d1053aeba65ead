#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fs.h"
#include "isolation/vm/boot_message.h"
#include "isolation/vm/cpio.h"
#include "isolation/vm/jail.h"
#include "isolation/vm/qemu.h"
#include "isolation/vm/saved_states.h"
#include "isolation/vm/tsc.h"
#include "isolation/unix_socket.h"

namespace atl::isolation::vm {
namespace {

TEST(Cpio, IsTheFormThatTheKernelReads) {
  CpioWriter writer;
  writer.folder("dev");
  writer.file("init", "abc", 0555);
  const std::string archive = writer.finish();
  EXPECT_EQ(archive.size() % 4, 0u);
  EXPECT_EQ(archive.substr(0, 22), "0707010000000100" "0041ED");  // a folder, 0755
  const auto file = archive.find("init", 100);
  ASSERT_NE(file, std::string::npos);
  EXPECT_EQ(archive.substr(file - 110, 6), "070701");
  EXPECT_EQ(archive.substr(file - 110 + 54, 8), "00000003");        // size
  EXPECT_EQ(archive.substr((file + 5 + 3) / 4 * 4, 3), "abc");      // its content begins at a multiple of 4
  EXPECT_NE(archive.find("TRAILER!!!"), std::string::npos);
}

TEST(QmpLine, Kinds) {
  EXPECT_EQ(parse_qmp_line(R"({"QMP":{"version":{}}})")->kind, QmpLine::Kind::greeting);
  EXPECT_EQ(parse_qmp_line(R"({"return":{"status":"completed"}})")->result.at("status").as_string(), "completed");
  EXPECT_EQ(parse_qmp_line(R"({"event":"STOP","timestamp":{}})")->text, "STOP");
  EXPECT_EQ(parse_qmp_line(R"({"error":{"class":"GenericError","desc":"no"}})")->text, "no");
  for (const char* wrong : {"", "[]", "{}", R"({"error":7})", R"({"event":{}})", "{\"return\":"})
    EXPECT_FALSE(parse_qmp_line(wrong).ok()) << wrong;
  EXPECT_EQ(parse_qmp_line(std::string(kQmpLineBytesMax + 1, ' ')).error().code, Errc::too_large);
}

std::string joined(const std::vector<std::string>& argv) {
  std::string out;
  for (const std::string& a : argv) out += a + " ";
  return out;
}

TEST(Qemu, StartsWithNothingThatWasNotAsked) {
  Machine machine;
  machine.vcpus = 3;
  machine.memory_bytes = 512ll << 20;
  machine.command_line = "console=ttyS0";
  machine.root_image = 11, machine.disk = 12, machine.log = 13, machine.boot = 14, machine.boot_peer = 15, machine.control = 16;
  const Qemu qemu({.accelerator = Accelerator::emulation});
  const Launch boot = qemu.launch(machine, Start::boot);
  const std::string line = joined(boot.argv);
  for (const char* part : {"-nodefaults", "-no-user-config", " -S ", "spawn=deny", "elevateprivileges=deny", "-smp 3", "-m 512M",
                           "tcg,thread=multi", "free-page-reporting=on", "readonly=on"})
    EXPECT_NE(line.find(part), std::string::npos) << part;
  for (const char* part : {"-netdev", "-nic", "-incoming", "memory-backend", "kvm"})
    EXPECT_EQ(line.find(part), std::string::npos) << part;
  EXPECT_EQ(boot.fds, (std::vector<int>{11, 12, 13, 14, 15, 16}));

  machine.memory = 17;
  const std::string clone = joined(qemu.launch(machine, Start::clone).argv);
  EXPECT_NE(clone.find("share=off"), std::string::npos);
  EXPECT_NE(clone.find("-incoming defer"), std::string::npos);
  EXPECT_EQ(clone.find("free-page-reporting"), std::string::npos);
  EXPECT_NE(joined(qemu.launch(machine, Start::boot_to_save).argv).find("share=on"), std::string::npos);
}

TEST(Jail, WhatItTakesAwayIsAllButTheChannel) {
  Launch launch;
  launch.argv = {"/usr/bin/vmm"};
  launch.binds = {{"/usr", "/usr"}};
  Jail jail;
  jail.program = "/jail", jail.root = "/empty", jail.channel_dir = "/c", jail.kernel = "/k", jail.initrd = "/i";
  jail.uid = 70000, jail.kvm = true, jail.seccomp_fd = 5;
  EXPECT_NE(joined(jail_command(jail, launch).argv).find("--bind /c /channel"), std::string::npos);
  EXPECT_NE(joined(jail_command(jail, launch).argv).find("--device kvm 10 232"), std::string::npos);
  const std::string empty = joined(empty_command(jail, launch, 42).argv);
  for (const char* gone : {"/usr", "/boot/kernel", "/boot/initrd", "/proc", "/dev/kvm", " 42 "})
    EXPECT_NE(empty.find(gone), std::string::npos) << gone;
  EXPECT_EQ(empty.find("/channel"), std::string::npos);
  const auto filter = jail_filter();
  ASSERT_TRUE(filter.ok()) << filter.error().message;
  EXPECT_EQ(filter->size() % 8, 0u);
}

TEST(SavedMemory, CannotBeChangedThroughAnyDescriptor) {
  const auto file = sealable_file("test", 8192);
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(::pwrite(file->get(), "saved", 5, 0), 5);
  ASSERT_TRUE(seal(file->get()).ok());
  EXPECT_EQ(::pwrite(file->get(), "other", 5, 0), -1);
  const auto again = open_fd("/proc/self/fd/" + std::to_string(file->get()), O_RDWR);  // as a VMM opens it
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(::pwrite(again->get(), "other", 5, 0), -1);
  EXPECT_NE(::fallocate(again->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  EXPECT_EQ(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, again->get(), 0), MAP_FAILED);
  char* mine = static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, again->get(), 0));
  ASSERT_NE(static_cast<void*>(mine), MAP_FAILED);
  mine[0] = 'X';
  char first = 0;
  EXPECT_EQ(::pread(file->get(), &first, 1, 0), 1);
  EXPECT_EQ(first, 's');
  ::munmap(mine, 8192);
}

TEST(SavedStates, OneMakesAFewAreKeptAndWhatFailedIsNotTriedAgain) {
  SavedStates states;
  EXPECT_TRUE(states.begin("a"));
  EXPECT_FALSE(states.begin("a"));
  states.failed("a");
  EXPECT_FALSE(states.begin("a"));
  for (int i = 0; i < 6; ++i) {
    const std::string key = "k" + std::to_string(i);
    ASSERT_TRUE(states.begin(key));
    states.put(key, std::make_shared<SavedState>(UniqueFd(), UniqueFd(), ""));
  }
  EXPECT_EQ(states.find("k0"), nullptr);
  EXPECT_EQ(states.find("k1"), nullptr);
  EXPECT_NE(states.find("k5"), nullptr);
  EXPECT_FALSE(states.begin("k0"));  // it has just gone
  EXPECT_TRUE(states.begin("k0", std::chrono::steady_clock::now() + SavedStates::kRest));
  states.drop("k5");
  EXPECT_EQ(states.find("k5"), nullptr);
  EXPECT_FALSE(states.begin("k5"));
}

TEST(BootChannel, HoldsTheLargestMessageBeforeAnybodyReads) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  Spec spec;
  spec.hostname = "box";
  spec.boot_config = json::serialize(json::object{{"env", std::string(1 << 20, 'x')}});
  const auto message = boot_message(spec, 1, std::string(64, 'e'));
  ASSERT_TRUE(message.ok());
  const auto channel = open_boot_channel();
  ASSERT_TRUE(channel.ok()) << channel.error().message;
  ASSERT_TRUE(send_boot_message(*channel, *message).ok());
  std::string read(message->size(), '\0');
  EXPECT_EQ(::recv(channel->reader.get(), read.data(), read.size(), MSG_WAITALL | MSG_DONTWAIT),
            static_cast<ssize_t>(read.size()));
  EXPECT_EQ(read, *message);
}

TEST(UnixSocket, PathsMayBeLongerThanAnAddress) {
  const std::string dir = "/tmp/atoll-vm-test-" + std::to_string(::getpid()) + std::string(120, 'd');
  ASSERT_TRUE(make_dirs(dir, 0700).ok());
  const auto listener = listen_unix(dir + "/s", 0600);
  ASSERT_TRUE(listener.ok()) << listener.error().message;
  EXPECT_TRUE(connect_unix(dir + "/s").ok());
  EXPECT_FALSE(connect_unix(dir + "/other").ok());
  EXPECT_TRUE(remove_tree(dir).ok());
}

TEST(Tsc, IsMeasuredAndPassed) {
  const std::int64_t first = measure_tsc_khz(), second = measure_tsc_khz();
  if (first == 0) GTEST_SKIP() << "no time stamp counter";
  EXPECT_NEAR(static_cast<double>(first), static_cast<double>(second), static_cast<double>(first) * 0.001);
  EXPECT_NE(kernel_command_line(2'000'000).find("tsc_early_khz=2000000 lpj=8000000"), std::string::npos);
  EXPECT_EQ(kernel_command_line(0).find("tsc_early"), std::string::npos);
}

}  // namespace
}  // namespace atl::isolation::vm
