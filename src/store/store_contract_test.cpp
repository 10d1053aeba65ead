#include "store/store_contract.h"

namespace atl::store::testing {

Project a_project(const std::string& id) { return Project{id, "name-" + id, {3, 8, 4096, 60}, 1000}; }

ApiKey a_key(const std::string& id, const std::string& project_id) {
  return ApiKey{id, project_id, "key " + id, "hash-" + id, {"e2b_", 40, "ab", "cdef"}, 2000, 0};
}

Sandbox a_sandbox(const std::string& id, const std::string& project_id) {
  Sandbox row;
  row.id = id;
  row.project_id = project_id;
  row.template_id = "tpl1";
  row.template_name = "base";
  row.tier = "auto";
  row.vcpus = 2;
  row.memory_mb = 512;
  row.disk_mb = 1024;
  row.created_ms = 5000;
  row.metadata = {{"zeta", "1"}, {"\xc3\xbc", "a\"b\\'; DROP TABLE sandboxes; --"}, {"empty", ""}};
  row.deny_out = {"10.0.0.0/8"};
  row.mask_request_host = "localhost:${PORT}";
  return row;
}

void StoreContract::SetUp() {
  backend_ = GetParam()();
  restart();
  ASSERT_TRUE(store_->add_project(a_project("p1"), a_key("k1", "p1")).ok());
}

void StoreContract::restart() {
  store_.reset();
  auto opened = backend_->open();
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  store_ = std::move(*opened);
}

TEST_P(StoreContract, ProjectsAndKeysSurviveARestart) {
  ASSERT_TRUE(store_->add_key(a_key("k2", "p1")).ok());
  const std::vector<std::pair<std::string, std::int64_t>> used{{"k2", 77}};
  ASSERT_TRUE(store_->set_last_used(used).ok());
  restart();
  const auto projects = store_->projects();
  ASSERT_TRUE(projects.ok());
  EXPECT_EQ(*projects, std::vector<Project>{a_project("p1")});
  const auto keys = store_->keys();
  ASSERT_TRUE(keys.ok());
  ASSERT_EQ(keys->size(), 2u);
  EXPECT_EQ((*keys)[0], a_key("k1", "p1"));
  EXPECT_EQ((*keys)[1].last_used_ms, 77);
}

TEST_P(StoreContract, TakenNamesAreRefusedWhole) {
  Project same_name = a_project("p2");
  same_name.name = "name-p1";
  EXPECT_EQ(store_->add_project(same_name, a_key("k9", "p2")).error().code, Errc::exists);
  ApiKey same_hash = a_key("k8", "p3");
  same_hash.hash = "hash-k1";
  EXPECT_EQ(store_->add_project(a_project("p3"), same_hash).error().code, Errc::exists);
  EXPECT_EQ(store_->projects()->size(), 1u) << "the project of the refused key stayed";
  EXPECT_EQ(store_->keys()->size(), 1u);
}

TEST_P(StoreContract, AKeyGoesOnlyFromItsOwnProject) {
  ASSERT_TRUE(store_->add_project(a_project("p2"), a_key("k2", "p2")).ok());
  EXPECT_EQ(store_->remove_key("p1", "k2").error().code, Errc::not_found);
  ASSERT_TRUE(store_->add_key(a_key("k3", "p2")).ok());
  EXPECT_TRUE(store_->remove_key("p2", "k2").ok());
  EXPECT_EQ(store_->remove_key("p2", "k2").error().code, Errc::not_found);
}

TEST_P(StoreContract, AKeyIsRenamedOnlyByItsOwnProject) {
  ASSERT_TRUE(store_->add_project(a_project("p2"), a_key("k2", "p2")).ok());
  EXPECT_EQ(store_->rename_key("p1", "k2", "stolen").error().code, Errc::not_found);
  ASSERT_TRUE(store_->rename_key("p2", "k2", "ci").ok());
  restart();
  const auto keys = store_->keys();
  ASSERT_TRUE(keys.ok());
  for (const ApiKey& key : *keys) EXPECT_EQ(key.name, key.id == "k2" ? "ci" : a_key("k1", "p1").name);
}

TEST_P(StoreContract, AProjectKeepsItsLastKey) {
  ASSERT_TRUE(store_->add_key(a_key("k2", "p1")).ok());
  EXPECT_TRUE(store_->remove_key("p1", "k1").ok());
  EXPECT_EQ(store_->remove_key("p1", "k2").error().code, Errc::conflict);
  EXPECT_EQ(store_->keys()->size(), 1u);
}

TEST_P(StoreContract, ACreateIsWrittenWholeAndReadBackEqual) {
  Sandbox row = a_sandbox("s1", "p1");
  const Idempotency record{"p1", "once", "h", "s1", 5000};
  ASSERT_TRUE(store_->begin_create(row, &record, {"s1", 5000, "info", "create"}).ok());
  restart();
  EXPECT_EQ(*store_->sandboxes(), std::vector<Sandbox>{row});
  EXPECT_EQ(*store_->idempotency(), std::vector<Idempotency>{record});

  row.state = State::running;
  row.tier = "gvisor";
  row.started_ms = 6000;
  row.end_ms = 9000;
  row.receipt_json = R"({"tier":"gvisor"})";
  ASSERT_TRUE(store_->finish_create(row, {"s1", 6000, "info", "running"}).ok());
  restart();
  EXPECT_EQ(*store_->sandboxes(), std::vector<Sandbox>{row});
  const std::vector<LogEntry> entries{{"s1", 5000, "info", "create"}, {"s1", 6000, "info", "running"}};
  EXPECT_EQ(*store_->entries("s1"), entries);
  const std::vector<TemplateUse> uses{{"tpl1", 1, 6000}};
  EXPECT_EQ(*store_->template_uses(), uses);
}

TEST_P(StoreContract, AFailedBeginLeavesNothing) {
  const Idempotency record{"p1", "once", "h", "s1", 5000};
  ASSERT_TRUE(store_->begin_create(a_sandbox("s1", "p1"), &record, {"s1", 1, "info", "m"}).ok());
  const Idempotency again{"p1", "once", "h2", "s2", 5000};
  EXPECT_EQ(store_->begin_create(a_sandbox("s2", "p1"), &again, {"s2", 1, "info", "m"}).error().code, Errc::exists);
  EXPECT_FALSE(store_->begin_create(a_sandbox("s3", "nobody"), nullptr, {"s3", 1, "info", "m"}).ok());
  EXPECT_EQ(store_->sandboxes()->size(), 1u);
  EXPECT_TRUE(store_->entries("s2")->empty());
}

TEST_P(StoreContract, AbortTakesRowEntriesAndKeyButOnlyWhileCreating) {
  const Idempotency record{"p1", "once", "h", "s1", 5000};
  Sandbox row = a_sandbox("s1", "p1");
  ASSERT_TRUE(store_->begin_create(row, &record, {"s1", 1, "info", "m"}).ok());
  ASSERT_TRUE(store_->abort_create("s1").ok());
  ASSERT_TRUE(store_->abort_create("s1").ok()) << "a repeat is fine";
  EXPECT_TRUE(store_->sandboxes()->empty());
  EXPECT_TRUE(store_->idempotency()->empty());
  EXPECT_TRUE(store_->entries("s1")->empty());

  ASSERT_TRUE(store_->begin_create(row, &record, {"s1", 1, "info", "m"}).ok());
  row.state = State::running;
  ASSERT_TRUE(store_->finish_create(row, {"s1", 2, "info", "m"}).ok());
  ASSERT_TRUE(store_->abort_create("s1").ok());
  EXPECT_EQ(store_->sandboxes()->size(), 1u) << "a running sandbox's row went";
}

TEST_P(StoreContract, SaveNeedsARow) {
  EXPECT_EQ(store_->save(a_sandbox("s1", "p1"), {}).error().code, Errc::not_found);
  EXPECT_EQ(store_->finish_create(a_sandbox("s1", "p1"), {"s1", 2, "info", "m"}).error().code, Errc::not_found);
  EXPECT_TRUE(store_->template_uses()->empty());
}

TEST_P(StoreContract, PruneForgetsOnlyWhatIsOldAndEnded) {
  for (const char* id : {"old", "fresh", "live"}) {
    Sandbox row = a_sandbox(id, "p1");
    const Idempotency record{"p1", std::string("key-") + id, "h", id, std::string_view(id) == "old" ? 10 : 100};
    ASSERT_TRUE(store_->begin_create(row, &record, {id, 1, "info", "m"}).ok());
    row.state = std::string_view(id) == "live" ? State::running : State::ended;
    row.ended_ms = std::string_view(id) == "old" ? 20 : 200;
    ASSERT_TRUE(store_->save(row, {}).ok());
  }
  ASSERT_TRUE(store_->prune(100, 50).ok());
  const auto rows = store_->sandboxes();
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0].id, "fresh");
  EXPECT_EQ(store_->idempotency()->size(), 2u);
  EXPECT_TRUE(store_->entries("old")->empty());
  ASSERT_TRUE(store_->prune(1000, 50).ok());
  EXPECT_EQ(store_->sandboxes()->size(), 2u) << "the answer of a create that may be repeated went";
  ASSERT_TRUE(store_->prune(1000, 1000).ok());
  EXPECT_EQ(store_->sandboxes()->size(), 1u);
}

}  // namespace atl::store::testing
