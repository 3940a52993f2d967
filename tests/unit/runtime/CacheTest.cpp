//===- CacheTest.cpp - The folder of compiled modules ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "FakeModule.h"
#include "TempFolder.h"

#include "runtime/cache/ModuleCache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace quern;
using namespace quern::testing;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

namespace {

std::vector<std::byte> moduleNamed(const std::string &layer,
                                   size_t codeBytes = 0x1900) {
  ModuleDesc module =
      makeFakeModule(std::vector<std::byte>(codeBytes, std::byte{0xc3}));
  module.layer = layer;
  return module.serialize();
}

CacheKey key(std::string_view text, uint64_t compiler = 7) {
  return CacheKey::make(std::span(&text, 1), compiler);
}

size_t filesIn(const std::string &folder) {
  size_t n = 0;
  for ([[maybe_unused]] const auto &entry : fs::directory_iterator(folder))
    ++n;
  return n;
}

TEST(Cache, KeysKeepTextsApart) {
  std::string_view a[] = {"ab", "c"}, b[] = {"a", "bc"}, c[] = {"abc"};
  std::string names[] = {
      CacheKey::make(a, 1).fileName(), CacheKey::make(b, 1).fileName(),
      CacheKey::make(c, 1).fileName(), CacheKey::make(a, 2).fileName()};
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < i; ++j)
      EXPECT_NE(names[i], names[j]);
  EXPECT_EQ(CacheKey::make(a, 1).fileName(), names[0]);
  EXPECT_EQ(names[0].size(), 32u + 1 + 16 + 4);
}

TEST(Cache, PublishedModulesAreFound) {
  TempFolder temp;
  ModuleCache cache(temp / "deep/er");
  EXPECT_FALSE(cache.find(key("a")));
  Result<void> done = cache.publish(key("a"), moduleNamed("one"));
  ASSERT_TRUE(done) << done.error().render();
  EXPECT_EQ(cache.find(key("a")), moduleNamed("one"));
  EXPECT_FALSE(cache.find(key("b")));
  EXPECT_FALSE(cache.find(key("a", 8))) << "another compiler's";
  struct stat info;
  ASSERT_EQ(stat((temp / "deep/er").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  EXPECT_EQ(filesIn(temp / "deep/er"), 1u) << "no temporary file stays";
}

TEST(Cache, WithoutACompilerAnyEntryServes) {
  TempFolder temp;
  ModuleCache cache(temp / "c");
  ASSERT_TRUE(cache.publish(key("a", 7), moduleNamed("seven")));
  EXPECT_EQ(cache.find(key("a", 0)), moduleNamed("seven"));
  EXPECT_FALSE(cache.find(key("b", 0)));
  // The newest valid one wins.
  ASSERT_TRUE(cache.publish(key("a", 8), moduleNamed("eight")));
  fs::last_write_time(temp / "c/" + key("a", 7).fileName(),
                      fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(cache.find(key("a", 0)), moduleNamed("eight"));
  temp.write("c/" + key("a", 8).fileName(), std::string("broken"));
  EXPECT_EQ(cache.find(key("a", 0)), moduleNamed("seven"));
}

TEST(Cache, DamagedEntriesAreAbsentAndReplaced) {
  TempFolder temp;
  ModuleCache cache(temp.path);
  std::vector<std::byte> good = moduleNamed("one");
  for (size_t keep : {size_t{0}, size_t{5}, good.size() - 1}) {
    temp.write(key("a").fileName(), std::span(good).first(keep));
    EXPECT_FALSE(cache.find(key("a"))) << keep;
  }
  std::vector<std::byte> flipped = good;
  flipped[good.size() - 10] ^= std::byte{4};
  temp.write(key("a").fileName(), flipped);
  EXPECT_FALSE(cache.find(key("a")));
  Result<std::vector<CacheEntry>> entries = cache.list();
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_THAT((*entries)[0].fault, HasSubstr("checksum"));
  ASSERT_TRUE(cache.publish(key("a"), good));
  EXPECT_EQ(cache.find(key("a")), good);
  // Something that is no file at all.
  fs::create_directory(temp / key("d").fileName());
  EXPECT_FALSE(cache.find(key("d")));
}

TEST(Cache, ListAndClear) {
  TempFolder temp;
  ModuleCache cache(temp.path);
  ASSERT_TRUE(cache.publish(key("a"), moduleNamed("one")));
  ASSERT_TRUE(cache.publish(key("b"), moduleNamed("two")));
  temp.write(key("c").fileName(), std::string("broken"));
  temp.write("notes.txt", std::string("mine"));
  temp.write(".quern-tmp-fresh", std::string("x"));
  fs::last_write_time(temp.write(".quern-tmp-stale", std::string("x")),
                      fs::file_time_type::clock::now() - std::chrono::hours(2));
  Result<std::vector<CacheEntry>> entries = cache.list();
  ASSERT_TRUE(entries) << entries.error().render();
  ASSERT_EQ(entries->size(), 3u);
  size_t valid = 0;
  for (const CacheEntry &entry : *entries)
    if (entry.fault.empty()) {
      ++valid;
      EXPECT_THAT(entry.layer, ::testing::AnyOf("one", "two"));
      EXPECT_THAT(entry.targets, ::testing::ElementsAre("cpu:generic"));
      EXPECT_GT(entry.bytes, 0u);
      EXPECT_GT(entry.modified, 0);
    }
  EXPECT_EQ(valid, 2u);
  EXPECT_EQ(*cache.clear(/*onlyInvalid=*/true), 2u); // One broken, one stale.
  EXPECT_TRUE(cache.find(key("a")));
  EXPECT_EQ(*cache.clear(), 2u);
  EXPECT_TRUE(fs::exists(temp / "notes.txt"));
  EXPECT_TRUE(fs::exists(temp / ".quern-tmp-fresh"));
  EXPECT_EQ(cache.list()->size(), 0u);
}

TEST(Cache, FoldersOthersCanWriteAreNotUsed) {
  TempFolder temp;
  ModuleCache cache(temp.path);
  ASSERT_TRUE(cache.publish(key("a"), moduleNamed("one")));
  for (mode_t mode : {0770, 0707, 0720}) {
    ASSERT_EQ(chmod(temp.path.c_str(), mode), 0);
    EXPECT_FALSE(cache.find(key("a")));
    Result<void> done = cache.publish(key("b"), moduleNamed("two"));
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().message, HasSubstr("other users can write"));
    EXPECT_FALSE(cache.list());
  }
  ASSERT_EQ(chmod(temp.path.c_str(), 0755), 0);
  EXPECT_TRUE(cache.find(key("a")));
}

TEST(Cache, UnusableFoldersAreHarmless) {
  TempFolder temp;
  temp.write("file", std::string("x"));
  for (const std::string &path :
       {temp / "file", temp / "file/below", std::string()}) {
    ModuleCache cache(path);
    EXPECT_FALSE(cache.find(key("a")));
    EXPECT_FALSE(cache.publish(key("a"), moduleNamed("one")));
  }
  ModuleCache absent(temp / "absent");
  EXPECT_EQ(absent.list()->size(), 0u);
  EXPECT_EQ(*absent.clear(), 0u);
  if (geteuid() != 0) { // Root may write anywhere.
    ASSERT_EQ(chmod(temp.path.c_str(), 0500), 0);
    Result<void> done =
        ModuleCache(temp.path).publish(key("a"), moduleNamed("one"));
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().message, HasSubstr("cannot write"));
  }
}

TEST(Cache, DefaultFolderFollowsTheEnvironment) {
  auto get = [](const char *own, const char *xdg, const char *home) {
    pid_t child = fork();
    if (child == 0) {
      own ? setenv("QUERN_CACHE", own, 1) : unsetenv("QUERN_CACHE");
      xdg ? setenv("XDG_CACHE_HOME", xdg, 1) : unsetenv("XDG_CACHE_HOME");
      home ? setenv("HOME", home, 1) : unsetenv("HOME");
      std::string folder = ModuleCache::defaultFolder();
      _exit(folder == "/q"                ? 1
            : folder == "/x/quern"        ? 2
            : folder == "/h/.cache/quern" ? 3
            : folder.empty()              ? 4
                                          : 5);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(get("/q", "/x", "/h"), 1);
  EXPECT_EQ(get(nullptr, "/x", "/h"), 2);
  EXPECT_EQ(get("", "", "/h"), 3);
  EXPECT_EQ(get(nullptr, "relative", "/h"), 3);
  EXPECT_EQ(get(nullptr, nullptr, nullptr), 4);
}

TEST(Cache, ProcessesRace) {
  // Writers replace one entry over and over while readers demand that what
  // they find is always one of the two modules, whole.
  TempFolder temp;
  std::string folder = temp / "c";
  std::vector<std::byte> one = moduleNamed("one", 0x20000),
                         two = moduleNamed("two", 0x30000);
  std::vector<pid_t> children;
  for (int who = 0; who < 4; ++who) {
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ModuleCache cache(folder);
      for (int i = 0; i < 40; ++i) {
        if (who < 2 && !cache.publish(key("a"), who ? one : two))
          _exit(1);
        auto found = cache.find(key("a"));
        if (found && *found != one && *found != two)
          _exit(2);
        if (who < 2 && !found)
          _exit(3);
      }
      _exit(0);
    }
    children.push_back(child);
  }
  for (pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
  EXPECT_EQ(filesIn(folder), 1u);
}

} // namespace
