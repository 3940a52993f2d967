//===- CompileTest.cpp - Compiling through the cache ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "FakeModule.h"
#include "TempFolder.h"

#include "quern/quern.h"
#include "runtime/device/cpu/CpuFeatures.h"
#include "runtime/jit/CompilerLibrary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

using namespace quern;
using namespace quern::testing;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

namespace {

class Compile : public ::testing::Test {
protected:
  Compile() {
    setenv("QUERN_FAKE_LOG", log.c_str(), 1);
    unsetenv("QUERN_COMPILER");
    options.cacheFolder = temp / "cache";
    options.compiler = QUERN_FAKE_COMPILER;
  }
  size_t calls() const { return std::ranges::count(read(), '\n'); }
  std::string read() const {
    std::ifstream in(log);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  TempFolder temp;
  std::string log = temp / "log";
  CompileOptions options;
};

TEST_F(Compile, SecondTimeComesFromTheCache) {
  for (int i = 0; i < 3; ++i) {
    Result<Layer> layer = compile("fake", options, "layer.qn");
    ASSERT_TRUE(layer) << layer.error().render();
    EXPECT_EQ(layer->name(), "fake");
    EXPECT_EQ(calls(), 1u);
  }
  std::string features;
  for (const std::string &f : cpu::hostFeatures())
    features += (features.empty() ? "" : ",") + f;
  EXPECT_EQ(read(), "layer.qn cpu [" + features + "]\n");
}

TEST_F(Compile, EverythingThatMattersIsInTheKey) {
  ASSERT_TRUE(compile("fake", options));
  options.settings = {"numerics=fast", "fuse=none"};
  ASSERT_TRUE(compile("fake", options));
  EXPECT_EQ(calls(), 2u);
  std::swap(options.settings[0], options.settings[1]);
  ASSERT_TRUE(compile("fake", options)); // The order does not matter.
  EXPECT_EQ(calls(), 2u);
  options.target = "cpu:generic";
  ASSERT_TRUE(compile("fake", options));
  EXPECT_EQ(calls(), 3u);
  EXPECT_THAT(read(), HasSubstr("cpu:generic [] fuse=none numerics=fast"));
  options.compiler = QUERN_FAKE_COMPILER_2;
  ASSERT_TRUE(compile("fake", options));
  EXPECT_EQ(calls(), 4u);
  options.tuned = "quern-schedules 1";
  ASSERT_TRUE(compile("fake", options));
  EXPECT_EQ(calls(), 5u);
  EXPECT_THAT(read(), HasSubstr(" tuned=quern-schedules 1\n"));
  ASSERT_TRUE(compile("fake", options));
  EXPECT_EQ(calls(), 5u);
  options.tuned += " ";
  ASSERT_TRUE(compile("fake", options));
  EXPECT_EQ(calls(), 6u) << "all of the record is in the key";
  options.useCache = false;
  ASSERT_TRUE(compile("fake", options));
  EXPECT_EQ(calls(), 7u);
}

TEST_F(Compile, WithoutACompilerTheCacheServes) {
  ASSERT_TRUE(compile("fake", options));
  options.compiler = temp / "nowhere.so";
  Result<Layer> cached = compile("fake", options);
  ASSERT_TRUE(cached) << cached.error().render();
  Result<Layer> layer = compile("other", options);
  ASSERT_FALSE(layer);
  EXPECT_EQ(layer.error().code, Errc::CompilerMissing);
  EXPECT_THAT(layer.error().render(), HasSubstr("nowhere.so"));
  EXPECT_THAT(layer.error().render(), HasSubstr("QUERN_COMPILER"));
}

TEST_F(Compile, EnvironmentNamesTheCompiler) {
  options.compiler.clear();
  setenv("QUERN_COMPILER", QUERN_FAKE_COMPILER, 1);
  EXPECT_TRUE(compile("fake", options));
  EXPECT_EQ(calls(), 1u);
  setenv("QUERN_COMPILER", "/nowhere/at/all.so", 1);
  options.useCache = false;
  Result<Layer> layer = compile("fake", options);
  ASSERT_FALSE(layer);
  EXPECT_THAT(layer.error().message, HasSubstr("/nowhere/at/all.so"));
}

TEST_F(Compile, NotACompiler) {
  options.compiler = temp.write("text.so", std::string("not a library"));
  Result<Layer> layer = compile("fake", options);
  ASSERT_FALSE(layer);
  EXPECT_EQ(layer.error().code, Errc::CompilerMissing);
  EXPECT_THAT(layer.error().message, HasSubstr("cannot open the compiler"));
}

TEST_F(Compile, DiagnosticsKeepTheirPlace) {
  Result<Layer> layer = compile("bad", options, "layer.qn");
  ASSERT_FALSE(layer);
  EXPECT_EQ(layer.error().code, Errc::InvalidSource);
  EXPECT_EQ(layer.error().render(),
            "layer.qn:3:5: error: no such layer\n  bad text\n      ^\n"
            "note: first note\nnote: second note\n"
            "layer.qn:4:1: error: and another\nnote: first note\n");
  ASSERT_EQ(layer.error().others.size(), 1u);
  EXPECT_EQ(layer.error().others[0].line, 4u);
}

TEST_F(Compile, WhatTheCompilerMakesIsChecked) {
  Result<Layer> layer = compile("garbage", options);
  ASSERT_FALSE(layer);
  EXPECT_EQ(layer.error().code, Errc::Internal);
  EXPECT_THAT(layer.error().message, HasSubstr("QUERNMOD"));
}

TEST_F(Compile, ADamagedEntryIsRebuilt) {
  ASSERT_TRUE(compile("fake", options));
  for (const auto &entry : fs::directory_iterator(options.cacheFolder))
    fs::resize_file(entry.path(), 100);
  EXPECT_TRUE(compile("fake", options));
  EXPECT_EQ(calls(), 2u);
  EXPECT_TRUE(compile("fake", options));
  EXPECT_EQ(calls(), 2u);
}

TEST_F(Compile, AnUnusableCacheIsHarmless) {
  options.cacheFolder = temp.write("file", std::string("x"));
  EXPECT_TRUE(compile("fake", options));
  EXPECT_TRUE(compile("fake", options));
  EXPECT_EQ(calls(), 2u);
}

TEST_F(Compile, FilesAndModules) {
  Result<Layer> layer =
      compileFile(temp.write("l.qn", std::string("fake")), options);
  ASSERT_TRUE(layer) << layer.error().render();
  Result<std::vector<std::byte>> bytes = compileModule("fake", options);
  ASSERT_TRUE(bytes);
  EXPECT_EQ(calls(), 1u);
  EXPECT_TRUE(loadFile(temp.write("l.qnm", *bytes)));
  Result<Layer> missing = compileFile(temp / "absent.qn", options);
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().render(), HasSubstr("absent.qn: error"));
  options.target = "cuda";
  EXPECT_FALSE(compile("fake", options));
}

/// Code that one NVRTC made is not served once another stands in its place;
/// code for the CPU is.
TEST_F(Compile, AnotherNvrtcIsAnotherKey) {
  setenv("QUERN_NVRTC", temp.write("libnvrtc.so", std::string("one")).c_str(),
         1);
  options.target = "cuda:sm_80";
  ASSERT_TRUE(compileModule("fake", options));
  ASSERT_TRUE(compileModule("fake", options));
  EXPECT_EQ(calls(), 1u);
  temp.write("libnvrtc.so", std::string("another"));
  ASSERT_TRUE(compileModule("fake", options));
  EXPECT_EQ(calls(), 2u);
  options.target = "cpu:generic";
  ASSERT_TRUE(compileModule("fake", options));
  temp.write("libnvrtc.so", std::string("a third one"));
  ASSERT_TRUE(compileModule("fake", options));
  EXPECT_EQ(calls(), 3u);
  unsetenv("QUERN_NVRTC");
}

TEST_F(Compile, IdentityIsTheBuildId) {
  Result<CompilerLibrary> one = CompilerLibrary::find(QUERN_FAKE_COMPILER);
  Result<CompilerLibrary> two = CompilerLibrary::find(QUERN_FAKE_COMPILER_2);
  ASSERT_TRUE(one && two);
  EXPECT_NE(one->identity(), two->identity());
  // A copy, younger and elsewhere, is the same compiler.
  fs::copy(QUERN_FAKE_COMPILER, temp / "copy.so");
  EXPECT_EQ(CompilerLibrary::find(temp / "copy.so")->identity(),
            one->identity());
  EXPECT_EQ(*one->buildId(), "fake compiler 1");
}

} // namespace
