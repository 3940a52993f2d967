//===- NvrtcLog.cpp - Reading NVRTC's and ptxas' messages -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Nvrtc.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>

using namespace quern;
using namespace quern::cuda;

namespace {

/// Splits off the first line.
std::string_view takeLine(std::string_view &text) {
  size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text =
      end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return line;
}

std::optional<unsigned> number(std::string_view text) {
  size_t begin = text.find_first_of("0123456789");
  if (begin == std::string_view::npos)
    return std::nullopt;
  unsigned value = 0;
  const char *first = text.data() + begin;
  if (std::from_chars(first, text.data() + text.size(), value).ec !=
      std::errc())
    return std::nullopt;
  return value;
}

/// The number right before `unit`: 12 in "12 bytes smem".
uint32_t numberBefore(std::string_view line, std::string_view unit) {
  size_t at = line.find(unit);
  if (at == std::string_view::npos)
    return 0;
  std::string_view before = line.substr(0, at);
  size_t end = before.find_last_of("0123456789");
  if (end == std::string_view::npos)
    return 0;
  size_t begin = before.find_last_not_of("0123456789", end);
  begin = begin == std::string_view::npos ? 0 : begin + 1;
  return number(before.substr(begin, end + 1 - begin)).value_or(0);
}

std::string_view between(std::string_view line, char open, char close) {
  size_t begin = line.find(open);
  size_t end = line.find(close, begin + 1);
  if (begin == std::string_view::npos || end == std::string_view::npos)
    return {};
  return line.substr(begin + 1, end - begin - 1);
}

/// NVRTC puts the working directory before relative names.
std::string withoutWorkingDirectory(std::string_view file) {
  std::error_code failed;
  std::string here = std::filesystem::current_path(failed).string() + "/";
  if (!failed && file.substr(0, here.size()) == here)
    file.remove_prefix(here.size());
  return std::string(file);
}

} // namespace

std::vector<KernelResources> cuda::parsePtxasLog(std::string_view log) {
  std::vector<KernelResources> kernels;
  bool inKernel = false;
  while (!log.empty()) {
    std::string_view line = takeLine(log);
    if (line.find("Compiling entry function") != std::string_view::npos) {
      kernels.emplace_back();
      kernels.back().kernel = std::string(between(line, '\'', '\''));
      inKernel = true;
      continue;
    }
    if (line.find("Function properties for ") != std::string_view::npos) {
      // Device functions that were not inlined have properties too.
      size_t at = line.find(" for ");
      std::string_view name = line.substr(at + 5);
      while (!name.empty() && (name.back() == ' ' || name.back() == '\r'))
        name.remove_suffix(1);
      inKernel = !kernels.empty() && name == kernels.back().kernel;
      continue;
    }
    if (kernels.empty())
      continue;
    KernelResources &kernel = kernels.back();
    if (inKernel && line.find("bytes stack frame") != std::string_view::npos) {
      kernel.stackBytes = numberBefore(line, " bytes stack frame");
      kernel.spillStoreBytes = numberBefore(line, " bytes spill stores");
      kernel.spillLoadBytes = numberBefore(line, " bytes spill loads");
    }
    if (line.find(" registers") != std::string_view::npos) {
      kernel.registers = numberBefore(line, " registers");
      kernel.staticSharedBytes = numberBefore(line, " bytes smem");
    }
  }
  return kernels;
}

NvrtcError cuda::parseNvrtcLog(std::string_view log) {
  NvrtcError result;
  std::string_view rest = log;
  while (!rest.empty()) {
    std::string_view line = takeLine(rest);
    // ptxas application ptx input, line 27; error   : Unknown modifier
    if (line.substr(0, 5) == "ptxas" &&
        line.find("; error") != std::string_view::npos) {
      size_t at = line.find(", line ");
      size_t colon = line.find(": ", line.find("; error"));
      if (at == std::string_view::npos || colon == std::string_view::npos)
        continue;
      result.found = result.inPtx = true;
      result.diagnostic = fail(Errc::InvalidSource,
                               "ptxas: " + std::string(line.substr(colon + 2)));
      result.diagnostic.line = number(line.substr(at)).value_or(0);
      return result;
    }
    if (line.substr(0, 11) == "ptxas fatal") {
      result.found = true;
      size_t colon = line.find(": ");
      result.diagnostic =
          fail(Errc::InvalidSource,
               "ptxas: " + std::string(colon == std::string_view::npos
                                           ? line
                                           : line.substr(colon + 2)));
      continue; // A line with a place may follow.
    }
    // file(100): error: message
    size_t error = line.find("): error");
    if (error == std::string_view::npos)
      error = line.find("): catastrophic error");
    if (error == std::string_view::npos)
      continue;
    size_t open = line.rfind('(', error);
    size_t colon = line.find(": ", error + 3);
    if (open == std::string_view::npos || colon == std::string_view::npos)
      continue;
    result.found = true;
    result.inPtx = false;
    Diagnostic &diagnostic = result.diagnostic =
        fail(Errc::InvalidSource, std::string(line.substr(colon + 2)));
    diagnostic.file = withoutWorkingDirectory(line.substr(0, open));
    diagnostic.line = number(line.substr(open)).value_or(0);
    // The source line and a caret follow, both indented alike.
    std::string_view shown = takeLine(rest), caret = takeLine(rest);
    size_t at = caret.find('^');
    size_t indent = shown.find_first_not_of(' ');
    if (at != std::string_view::npos && indent != std::string_view::npos &&
        caret.find_first_not_of(' ') == at && at >= indent) {
      diagnostic.sourceLine = std::string(shown.substr(indent));
      diagnostic.column = static_cast<unsigned>(at - indent + 1);
    }
    return result;
  }
  return result;
}

SourcePlace cuda::placeOfPtxLine(std::string_view ptx, unsigned line) {
  std::map<unsigned, std::string> files;
  unsigned file = 0, sourceLine = 0, at = 0;
  while (!ptx.empty()) {
    std::string_view text = takeLine(ptx);
    ++at;
    size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos)
      continue;
    text.remove_prefix(begin);
    if (text.substr(0, 6) == ".file\t" || text.substr(0, 6) == ".file ") {
      if (std::optional<unsigned> index = number(text))
        files[*index] = std::string(between(text, '"', '"'));
    } else if (at <= line && (text.substr(0, 5) == ".loc\t" ||
                              text.substr(0, 5) == ".loc ")) {
      std::string_view numbers = text.substr(5);
      file = number(numbers).value_or(0);
      size_t space =
          numbers.find_first_of(" \t", numbers.find_first_of("0123456789"));
      sourceLine = space == std::string_view::npos
                       ? 0
                       : number(numbers.substr(space)).value_or(0);
    } else if (at <= line && (text.substr(0, 8) == ".visible" ||
                              text.substr(0, 6) == ".entry" ||
                              text.substr(0, 5) == ".func")) {
      file = sourceLine = 0; // Places do not reach across functions.
    }
  }
  SourcePlace place;
  if (auto it = files.find(file); file && it != files.end()) {
    place.file = withoutWorkingDirectory(it->second);
    place.line = sourceLine;
  }
  return place;
}
