//===- ArgumentsTest.cpp - What a program's arguments may be --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/gpu/Arguments.h"

#include <gtest/gtest.h>

using quern::gputest::Arguments;

namespace {

struct Values {
  std::string folder, driver;
  int schedules = 3;
  double budget = 180;
  bool time = false;
  std::string problem;
};

Values parsed(const std::vector<std::string> &given) {
  Values values;
  Arguments arguments;
  arguments.positional("folder", values.folder);
  arguments.text("--driver", values.driver, /*required=*/true);
  arguments.number("--schedules", values.schedules, 1, 1000);
  arguments.number("--budget", values.budget, 0.0, 1e6);
  arguments.flag("--time", values.time);
  values.problem = arguments.parse(given).value_or("");
  return values;
}

TEST(Arguments, AreTakenInAnyOrderAndEitherForm) {
  Values values = parsed({"--time", "--schedules=7", "set", "--budget", "2.5",
                          "--driver=sim:sm_80"});
  EXPECT_EQ(values.problem, "");
  EXPECT_EQ(values.folder, "set");
  EXPECT_EQ(values.driver, "sim:sm_80");
  EXPECT_EQ(values.schedules, 7);
  EXPECT_EQ(values.budget, 2.5);
  EXPECT_TRUE(values.time);
}

TEST(Arguments, WhatIsNotGivenKeepsItsValue) {
  Values values = parsed({"set", "--driver", "real"});
  EXPECT_EQ(values.problem, "");
  EXPECT_EQ(values.schedules, 3);
  EXPECT_FALSE(values.time);
}

TEST(Arguments, AreRefusedWithTheReason) {
  auto refused = [](std::vector<std::string> more, const std::string &why) {
    std::vector<std::string> given = {"set", "--driver", "real"};
    given.insert(given.end(), more.begin(), more.end());
    EXPECT_EQ(parsed(given).problem, why);
  };
  for (const char *number : {"3x", "", "0x10", " 3", "1e2", "-1", "0", "1001",
                             "99999999999999999999", "2.5"})
    refused({"--schedules", number},
            fmt::format("--schedules: '{}' is no whole number from 1 to 1000",
                        number));
  for (const char *number : {"many", "nan", "-1", "1e7", "12s"})
    refused(
        {"--budget", number},
        fmt::format("--budget: '{}' is no number from 0 to 1000000", number));
  refused({"--schedules"}, "--schedules needs a value");
  refused({"--schedules", "--time"}, "--schedules needs a value");
  refused({"--time=yes"}, "--time takes no value");
  refused({"--time", "--time"}, "--time is given twice");
  refused({"other"}, "a second folder: 'other' after 'set'");
  refused({"--jobs", "2"}, "no such option: --jobs; there are --driver, "
                           "--schedules, --budget, --time");
  EXPECT_EQ(parsed({"--driver", "real"}).problem, "a folder is missing");
  EXPECT_EQ(parsed({"set"}).problem, "--driver is missing");
}

} // namespace
