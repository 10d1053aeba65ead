#include "store/sqlite/sqlite_store.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "base/fs.h"
#include "store/sqlite/database.h"
#include "store/sqlite/schema.h"
#include "store/store_contract.h"

namespace atl::store::testing {
namespace {

class Folder {
 public:
  Folder() {
    char pattern[] = "/tmp/atoll-store-XXXXXX";
    path_ = ::mkdtemp(pattern);
  }
  ~Folder() { (void)remove_tree(path_).ok(); }
  std::string file() const { return path_ + "/atoll.db"; }

 private:
  std::string path_;
};

struct SqliteBackend final : Backend {
  Folder folder;
  Result<std::unique_ptr<Store>> open() override { return open_sqlite_store(folder.file()); }
};

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContract, ::testing::Values(MakeBackend([] {
                           return std::unique_ptr<Backend>(std::make_unique<SqliteBackend>());
                         })),
                         [](const auto&) { return std::string("sqlite"); });

TEST(SqliteStore, TheFileIsForItsOwnerAlone) {
  Folder folder;
  ASSERT_TRUE(open_sqlite_store(folder.file()).ok());
  struct stat st {};
  ASSERT_EQ(::stat(folder.file().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST(SqliteStore, ALaterSchemaIsRefusedAndLeftAlone) {
  Folder folder;
  {
    auto db = Database::open(folder.file());
    ASSERT_TRUE(db.ok());
    ASSERT_TRUE(db->execute("PRAGMA user_version = 9999").ok());
  }
  auto opened = open_sqlite_store(folder.file());
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, Errc::unsupported);
  EXPECT_NE(opened.error().message.find("9999"), std::string::npos) << opened.error().message;
}

TEST(SqliteStore, AFileThatIsNoDatabaseIsAnErrorThatNamesIt) {
  Folder folder;
  ASSERT_TRUE(write_file_atomic(folder.file(), std::string(8192, 'x'), 0600).ok());
  auto opened = open_sqlite_store(folder.file());
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.error().message.find(folder.file()), std::string::npos) << opened.error().message;
}

TEST(SqliteStore, CommitsAreSyncedAndForeignKeysHold) {
  Folder folder;
  ASSERT_TRUE(open_sqlite_store(folder.file()).ok());
  auto db = Database::open(folder.file());
  ASSERT_TRUE(db.ok());
  EXPECT_EQ(*db->number("PRAGMA synchronous"), 2) << "FULL";
  EXPECT_EQ(*db->number("PRAGMA foreign_keys"), 1);
  EXPECT_EQ(*db->number("PRAGMA user_version"), schema_version());
}

// A child commits, says so, and is killed: what it acknowledged is there, what it had not is not.
TEST(SqliteStore, AKilledWriterLosesNothingThatItAcknowledged) {
  Folder folder;
  ASSERT_TRUE(open_sqlite_store(folder.file()).ok());
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = open_sqlite_store(folder.file());
    if (!store.ok() || !(*store)->add_project(a_project("p1"), a_key("k1", "p1")).ok()) ::_exit(1);
    for (int i = 0;; ++i) {
      const std::string id = "s" + std::to_string(i);
      if (!(*store)->begin_create(a_sandbox(id, "p1"), nullptr, {id, 1, "info", "m"}).ok()) ::_exit(2);
      if (::write(ends[1], "x", 1) != 1) ::_exit(3);
    }
  }
  ::close(ends[1]);
  char acknowledged[20];
  std::size_t count = 0;
  while (count < 20) {
    const ssize_t got = ::read(ends[0], acknowledged, 20 - count);
    ASSERT_GT(got, 0);
    count += static_cast<std::size_t>(got);
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ends[0]);
  auto store = open_sqlite_store(folder.file());
  ASSERT_TRUE(store.ok()) << store.error().message;
  const auto rows = (*store)->sandboxes();
  ASSERT_TRUE(rows.ok());
  EXPECT_GE(rows->size(), 20u);
  for (const Sandbox& row : *rows) EXPECT_EQ((*store)->entries(row.id)->size(), 1u) << row.id;
}

}  // namespace
}  // namespace atl::store::testing
