#include "agent/files/tree_ops.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include "agent/files/entry_info.h"
#include "agent/files/metadata.h"
#include "agent/files/testing/files_fixture.h"
#include "agent/files/tree_copy.h"

namespace atl::agent {
namespace {

using testing::get;
using testing::put;
using testing::TempDir;

const WalkOptions kOptions;
Owner me() {
  return {::getuid(), ::getgid()};
}
const Users kUsers = Users::parse("root:x:0:0::/root:/bin/sh\nana:x:1234:1234::/home/ana:/bin/sh\n",
                                  "root:x:0:\nstaff:x:1234:\n");

TEST(EntryInfo, PermissionsAreGos) {
  EXPECT_EQ(go_permissions(S_IFREG | 0644), "-rw-r--r--");
  EXPECT_EQ(go_permissions(S_IFDIR | 0755), "drwxr-xr-x");
  EXPECT_EQ(go_permissions(S_IFLNK | 0777), "Lrwxrwxrwx");
  EXPECT_EQ(go_permissions(S_IFDIR | S_ISVTX | 0777), "dtrwxrwxrwx");
  EXPECT_EQ(go_permissions(S_IFREG | S_ISUID | 0755), "urwxr-xr-x");
  EXPECT_EQ(go_permissions(S_IFCHR | 0666), "Dcrw-rw-rw-");
  EXPECT_EQ(go_permissions(S_IFIFO | 0600), "prw-------");
}

TEST(EntryInfo, TellsAFile) {
  NEEDS(root);
  TempDir dir;
  put(dir / "f.txt", "12345", 0640);
  ASSERT_EQ(::chown((dir / "f.txt").c_str(), 1234, 4321), 0);
  auto entry = stat_entry(dir / "f.txt", kUsers, kOptions);
  ASSERT_TRUE(entry.ok()) << entry.error().message;
  EXPECT_EQ(entry->name(), "f.txt");
  EXPECT_EQ(entry->path(), dir / "f.txt");
  EXPECT_EQ(entry->type(), filesystem::FILE_TYPE_FILE);
  EXPECT_EQ(entry->size(), 5);
  EXPECT_EQ(entry->mode(), 0640u);
  EXPECT_EQ(entry->owner(), "ana");
  EXPECT_EQ(entry->group(), "4321");
  EXPECT_GT(entry->modified_time().seconds(), 1'600'000'000);
  EXPECT_FALSE(entry->is_symlink());
  EXPECT_FALSE(entry->has_symlink_target());
}

TEST(EntryInfo, TellsLinks) {
  TempDir dir;
  put(dir / "real", "12345", 0600);
  ASSERT_EQ(::symlink("real", (dir / "link").c_str()), 0);
  ASSERT_EQ(::symlink("link", (dir / "link2").c_str()), 0);
  ASSERT_EQ(::symlink("gone", (dir / "dangling").c_str()), 0);
  auto link = stat_entry(dir / "link2", kUsers, kOptions);
  ASSERT_TRUE(link.ok());
  EXPECT_TRUE(link->is_symlink());
  EXPECT_EQ(link->type(), filesystem::FILE_TYPE_FILE);
  EXPECT_EQ(link->mode(), 0600u);
  EXPECT_EQ(link->permissions(), "Lrwxrwxrwx");
  EXPECT_EQ(link->symlink_target(), dir / "real");
  EXPECT_EQ(link->path(), dir / "link2");
  auto dangling = stat_entry(dir / "dangling", kUsers, kOptions);
  ASSERT_TRUE(dangling.ok());
  EXPECT_EQ(dangling->type(), filesystem::FILE_TYPE_SYMLINK);
  EXPECT_TRUE(dangling->is_symlink());
  EXPECT_EQ(dangling->symlink_target(), dir / "gone");
  EXPECT_EQ(stat_entry(dir / "none", kUsers, kOptions).error().code, Errc::not_found);
  EXPECT_EQ(stat_entry(dir / "real/x", kUsers, kOptions).error().code, Errc::not_found);
}

TEST(MakeDir, MakesParentsAndRefusesWhatIsThere) {
  TempDir dir;
  ASSERT_TRUE(make_dir(dir / "a/b/c", kOptions, me()).ok());
  struct stat st = {};
  ASSERT_EQ(::stat((dir / "a/b/c").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0755u);
  EXPECT_EQ(make_dir(dir / "a/b", kOptions, me()).error().code, Errc::exists);
  put(dir / "file", "");
  EXPECT_EQ(make_dir(dir / "file", kOptions, me()).error().code, Errc::invalid);
  EXPECT_EQ(make_dir(dir / "file/x", kOptions, me()).error().code, Errc::invalid);
}

TEST(Move, RenamesAndMakesParents) {
  TempDir dir;
  put(dir / "a", "1");
  put(dir / "b", "2");
  ASSERT_TRUE(move_entry(dir / "a", dir / "new/place/a", kOptions, me()).ok());
  EXPECT_EQ(get(dir / "new/place/a"), "1");
  ASSERT_TRUE(move_entry(dir / "new/place/a", dir / "b", kOptions, me()).ok());
  EXPECT_EQ(get(dir / "b"), "1");
  EXPECT_EQ(move_entry(dir / "none", dir / "x", kOptions, me()).error().code, Errc::not_found);
  EXPECT_FALSE(exists(dir / "x"));
}

TEST(Remove, IsRmRf) {
  TempDir dir, other;
  put(other / "kept", "k");
  ASSERT_TRUE(make_dir(dir / "t/u/v", kOptions, me()).ok());
  put(dir / "t/u/f", "x");
  ASSERT_EQ(::symlink(other.path().c_str(), (dir / "t/link").c_str()), 0);
  ASSERT_TRUE(remove_entry(dir / "t", kOptions).ok());
  EXPECT_FALSE(exists(dir / "t"));
  EXPECT_EQ(get(other / "kept"), "k");
  EXPECT_TRUE(remove_entry(dir / "t", kOptions).ok());
  EXPECT_TRUE(remove_entry(dir / "no/such/path", kOptions).ok());
  EXPECT_EQ(remove_entry("/", kOptions).error().code, Errc::invalid);
}

TEST(ListDir, OrderDepthAndPrefix) {
  TempDir dir;
  ASSERT_TRUE(make_dir(dir / "r/b/c", kOptions, me()).ok());
  put(dir / "r/a", "");
  put(dir / "r/b/x", "");
  put(dir / "r/b/c/deep", "");
  ASSERT_EQ(::symlink("r", (dir / "link").c_str()), 0);
  const auto names = [&](std::uint32_t depth) {
    std::vector<std::string> out;
    auto entries = list_dir(dir / "link", depth, kUsers, kOptions);
    EXPECT_TRUE(entries.ok());
    if (entries.ok())
      for (const auto& entry : *entries) out.push_back(entry.path().substr(dir.path().size() + 1));
    return out;
  };
  const std::vector<std::string> one = {"link/a", "link/b"};
  const std::vector<std::string> two = {"link/a", "link/b", "link/b/c", "link/b/x"};
  EXPECT_EQ(names(0), one);
  EXPECT_EQ(names(1), one);
  EXPECT_EQ(names(2), two);
  EXPECT_EQ(names(9).size(), 5u);
  EXPECT_EQ(list_dir(dir / "r/a", 1, kUsers, kOptions).error().code, Errc::invalid);
  EXPECT_EQ(list_dir(dir / "none", 1, kUsers, kOptions).error().code, Errc::not_found);
}

TEST(CopyTree, KeepsWhatAMoveKeeps) {
  NEEDS(root);
  TempDir dir;
  ASSERT_TRUE(make_dir(dir / "src/sub", kOptions, Owner{1234, 1234}).ok());
  put(dir / "src/sub/file", std::string(3'000'000, 'z'), 04750);
  ASSERT_EQ(::symlink("file", (dir / "src/sub/link").c_str()), 0);
  ASSERT_EQ(::mkfifo((dir / "src/pipe").c_str(), 0600), 0);
  auto folder = open_fd(dir.path(), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(folder.ok());
  auto copied = copy_tree(folder->get(), "src", folder->get(), "dst");
  ASSERT_TRUE(copied.ok()) << copied.error().message;
  struct stat st = {};
  ASSERT_EQ(::stat((dir / "dst/sub/file").c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 3'000'000);
  EXPECT_EQ(st.st_mode & 07777, 04750u);
  ASSERT_EQ(::stat((dir / "dst/sub").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 1234u);
  ASSERT_EQ(::lstat((dir / "dst/sub/link").c_str(), &st), 0);
  EXPECT_TRUE(S_ISLNK(st.st_mode));
  ASSERT_EQ(::lstat((dir / "dst/pipe").c_str(), &st), 0);
  EXPECT_TRUE(S_ISFIFO(st.st_mode));
}

TEST(Metadata, HeadersAreChecked) {
  rpc::Headers headers;
  headers.add("X-Metadata-Foo", "bar");
  headers.add("x-metadata-a-b", "");
  headers.add("x-other", "no");
  auto metadata = metadata_of(headers);
  ASSERT_TRUE(metadata.ok());
  const Metadata expected = {{"a-b", ""}, {"foo", "bar"}};
  EXPECT_EQ(*metadata, expected);
  const std::pair<std::string, std::string> wrong[] = {{"x-metadata-", "v"},
                                                       {"x-metadata-k", "caf\xC3\xA9"},
                                                       {"x-metadata-" + std::string(247, 'k'), "v"},
                                                       {"x-metadata-k", std::string(4096, 'v')}};
  for (const auto& [name, value] : wrong) {
    rpc::Headers bad;
    bad.add(name, value);
    EXPECT_EQ(metadata_of(bad).error().code, Errc::invalid) << name.size();
  }
}

TEST(Metadata, TheWholeSetIsReplaced) {
  TempDir dir;
  put(dir / "f", "");
  auto fd = open_fd(dir / "f", O_RDWR);
  ASSERT_TRUE(fd.ok());
  if (::fsetxattr(fd->get(), "user.other", "x", 1, 0) != 0)
    GTEST_SKIP() << "needs extended attributes in /tmp";
  const Metadata first = {{"a", "1"}, {"b", "2"}}, second = {{"c", ""}};
  ASSERT_TRUE(write_metadata(fd->get(), first).ok());
  EXPECT_EQ(read_metadata(fd->get()), first);
  ASSERT_TRUE(write_metadata(fd->get(), second).ok());
  EXPECT_EQ(read_metadata(fd->get()), second);
  char value[2];
  EXPECT_EQ(::fgetxattr(fd->get(), "user.other", value, sizeof value), 1);
}

}  // namespace
}  // namespace atl::agent
