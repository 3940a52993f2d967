//===- SupervisorTest.cpp - One case's end is not the others' -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/gpu/Supervisor.h"

#include <csignal>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

using namespace quern;
using namespace quern::gputest;
using End = CaseReport::End;

namespace {

struct Seen {
  std::vector<std::string> opened;
  std::vector<CaseReport> reports;
};

Supervision watching(Seen &seen, std::function<CaseAnswer(size_t)> run) {
  Supervision supervision;
  supervision.open = []() -> Result<std::string> {
    return std::to_string(getpid());
  };
  supervision.run = std::move(run);
  supervision.opened = [&](const std::string &text) {
    seen.opened.push_back(text);
  };
  supervision.report = [&](const CaseReport &report) {
    seen.reports.push_back(report);
  };
  return supervision;
}

TEST(Supervisor, CasesShareAProcessThatIsNotThis) {
  Seen seen;
  auto supervision = watching(
      seen, [](size_t) { return CaseAnswer{std::to_string(getpid())}; });
  ASSERT_TRUE(supervise(3, supervision));
  ASSERT_EQ(seen.reports.size(), 3u);
  ASSERT_EQ(seen.opened.size(), 1u);
  EXPECT_NE(seen.opened[0], std::to_string(getpid()));
  for (const CaseReport &report : seen.reports)
    EXPECT_EQ(report.text, seen.opened[0]);
}

TEST(Supervisor, WhatHangsOrDiesTakesNothingAlong) {
  Seen seen;
  auto supervision = watching(seen, [](size_t i) -> CaseAnswer {
    std::string process = std::to_string(getpid());
    switch (i) {
    case 1:
      for (;;)
        pause();
    case 2:
      std::signal(SIGABRT, SIG_DFL);
      raise(SIGKILL);
      break;
    case 4:
      return {process, /*deviceLost=*/true};
    case 6:
      _exit(7);
    }
    return {process};
  });
  supervision.caseSeconds = 3; // Enough for the others on a busy machine.
  ASSERT_TRUE(supervise(8, supervision));
  ASSERT_EQ(seen.reports.size(), 8u);
  const End ends[] = {End::Answered, End::TimedOut, End::Died, End::Answered,
                      End::Answered, End::Answered, End::Died, End::Answered};
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(seen.reports[i].index, i);
    EXPECT_EQ(seen.reports[i].end, ends[i]) << i;
  }
  EXPECT_NE(seen.reports[2].text.find("signal 9"), std::string::npos);
  EXPECT_EQ(seen.reports[6].text, "exit code 7");
  // The same process until the device is lost, and then another.
  EXPECT_EQ(seen.reports[3].text, seen.reports[4].text);
  EXPECT_NE(seen.reports[4].text, seen.reports[5].text);
}

TEST(Supervisor, LongAnswersArriveWhole) {
  Seen seen;
  auto supervision = watching(seen, [](size_t i) {
    return CaseAnswer{std::string(300000 + i, static_cast<char>('a' + i))};
  });
  ASSERT_TRUE(supervise(3, supervision));
  ASSERT_EQ(seen.reports.size(), 3u);
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(seen.reports[i].text,
              std::string(300000 + i, static_cast<char>('a' + i)));
}

TEST(Supervisor, TheTimeForAllIsKept) {
  Seen seen;
  auto supervision = watching(seen, [](size_t) {
    usleep(300000);
    return CaseAnswer{};
  });
  supervision.totalSeconds = 3;
  ASSERT_TRUE(supervise(100, supervision));
  ASSERT_EQ(seen.reports.size(), 100u);
  EXPECT_EQ(seen.reports.front().end, End::Answered);
  EXPECT_EQ(seen.reports.back().end, End::NotBegun);
  EXPECT_EQ(seen.reports.back().text, "the time was spent");
}

TEST(Supervisor, ADeviceThatCannotBeOpenedEndsEverything) {
  Seen seen;
  auto supervision = watching(seen, [](size_t) { return CaseAnswer{}; });
  supervision.open = []() -> Result<std::string> {
    return fail(Errc::NoDevice, "no such device");
  };
  auto done = supervise(3, supervision);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Errc::NoDevice);
  EXPECT_NE(done.error().message.find("no such device"), std::string::npos);
  EXPECT_TRUE(seen.reports.empty());

  supervision.open = []() -> Result<std::string> { _exit(3); };
  done = supervise(3, supervision);
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("exit code 3"), std::string::npos);

  supervision.open = []() -> Result<std::string> {
    for (;;)
      pause();
  };
  supervision.caseSeconds = 0.3;
  done = supervise(3, supervision);
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("does not end"), std::string::npos);
}

TEST(Supervisor, ADeviceThatIsGoneIsSaidOfEveryCaseLeft) {
  Seen seen;
  size_t runs = 0;
  auto supervision = watching(seen, [&](size_t i) -> CaseAnswer {
    return {"", /*deviceLost=*/i == 1};
  });
  supervision.open = [&]() -> Result<std::string> {
    if (runs)
      return fail(Errc::NoDevice, "fell off the bus");
    return std::string();
  };
  auto report = supervision.report;
  supervision.report = [&, report](const CaseReport &r) {
    ++runs; // The next child is a copy of this process.
    report(r);
  };
  ASSERT_TRUE(supervise(4, supervision));
  ASSERT_EQ(seen.reports.size(), 4u);
  EXPECT_EQ(seen.reports[1].end, End::Answered);
  EXPECT_EQ(seen.reports[3].end, End::NotBegun);
  EXPECT_EQ(seen.reports[3].text, "no device any more: fell off the bus");
}

} // namespace
