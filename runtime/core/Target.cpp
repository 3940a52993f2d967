//===- Target.cpp - What a layer is compiled for --------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/core/Target.h"

#include <fmt/format.h>

#include <algorithm>

using namespace quern;

static bool isDigit(char c) { return c >= '0' && c <= '9'; }

static bool isLevel(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return isDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           c == '-' || c == '_' || c == '.';
  });
}

static bool isArchitecture(std::string_view text) {
  if (!text.starts_with("sm_"))
    return false;
  text.remove_prefix(3);
  if (text.ends_with('a') || text.ends_with('f'))
    text.remove_suffix(1);
  return text.size() >= 2 && text.size() <= 3 &&
         std::all_of(text.begin(), text.end(), isDigit);
}

Result<Target> Target::parse(std::string_view text) {
  size_t colon = text.find(':');
  std::string_view kind = text.substr(0, colon);
  bool hasArch = colon != std::string_view::npos;
  std::string_view arch = hasArch ? text.substr(colon + 1) : "";

  Target target;
  target.arch = arch;
  if (kind == "cpu") {
    target.kind = Kind::Cpu;
    if (!hasArch || isLevel(arch))
      return target;
  } else if (kind == "cuda") {
    target.kind = Kind::Cuda;
    if (!hasArch || isArchitecture(arch))
      return target;
  } else if (kind == "sim") {
    target.kind = Kind::Sim;
    if (isArchitecture(arch))
      return target;
  }
  return fail(Errc::InvalidArgument, fmt::format("unknown target '{}'", text),
              {"accepted are cpu, cpu:LEVEL (such as cpu:generic), cuda, "
               "cuda:sm_NN (such as cuda:sm_90a) and sim:sm_NN"});
}

std::string Target::print() const {
  std::string_view name = kind == Kind::Cpu    ? "cpu"
                          : kind == Kind::Cuda ? "cuda"
                                               : "sim";
  return arch.empty() ? std::string(name) : fmt::format("{}:{}", name, arch);
}

std::string Target::codeTarget() const {
  return kind == Kind::Sim ? "cuda:" + arch : print();
}
