//===- CudaTarget.cpp - Which NVIDIA architecture -------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/CudaTarget.h"

#include <fmt/format.h>

#include <charconv>

using namespace quern;
using namespace quern::emit;

Result<CudaTarget> CudaTarget::parse(std::string_view text) {
  auto refuse = [&](std::string_view why) {
    return fail(Errc::InvalidArgument,
                fmt::format("'{}' is not a CUDA architecture Quern can compile "
                            "for: {}",
                            text, why),
                {"accepted: sm_80, sm_86, sm_87, sm_89, sm_90, sm_90a, "
                 "sm_100, sm_100a, sm_103, sm_120, sm_120a, sm_121"});
  };
  std::string_view rest = text;
  if (!rest.starts_with("sm_"))
    return refuse("the name starts with sm_");
  rest.remove_prefix(3);
  CudaTarget target;
  auto [end, error] =
      std::from_chars(rest.data(), rest.data() + rest.size(), target.arch);
  if (error != std::errc())
    return refuse("a number follows sm_");
  rest.remove_prefix(end - rest.data());
  if (rest == "a" && target.arch >= 90)
    target.specific = true;
  else if (!rest.empty())
    return refuse("only the suffix 'a' is known, from sm_90 on");
  if (target.arch < 80)
    return refuse("asynchronous copies and the matrix instructions used need "
                  "8.0 or later");
  if (target.arch > 999)
    return refuse("there is no such architecture");
  return target;
}

std::string CudaTarget::name() const {
  return fmt::format("sm_{}{}", arch, specific ? "a" : "");
}

uint32_t CudaTarget::sharedBytesPerBlock() const {
  switch (arch) {
  case 80:
  case 87:
    return 163 * 1024;
  case 90:
  case 100:
  case 103:
    return 227 * 1024;
  default: // 8.6, 8.9, 12.x; the least of all for what is not known.
    return 99 * 1024;
  }
}

uint32_t CudaTarget::sharedBytesPerMultiprocessor() const {
  return sharedBytesPerBlock() + reservedShared;
}

uint32_t CudaTarget::threadsPerMultiprocessor() const {
  return arch == 80 || arch == 90 || arch == 100 || arch == 103 ? 2048 : 1536;
}

uint32_t CudaTarget::multiprocessors() const {
  switch (arch) {
  case 80:
    return 108;
  case 86:
    return 28;
  case 87:
    return 16;
  case 89:
    return 58;
  case 90:
    return 114;
  case 100:
  case 103:
    return 148;
  default: // 12.x; the least of all for what is not known.
    return 30;
  }
}
