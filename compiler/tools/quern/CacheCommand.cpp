//===- CacheCommand.cpp - quern cache -------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Commands.h"
#include "compiler/tools/quern/Json.h"
#include "runtime/cache/ModuleCache.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>

using namespace quern;
using namespace quern::tool;

static int clearCache(const ModuleCache &cache, const CacheOptions &options) {
  auto removed = cache.clear();
  if (!removed)
    return report(removed.error());
  if (options.json)
    fmt::print("{}\n",
               toText({{"folder", cache.folder()}, {"removed", *removed}}));
  else
    fmt::print("removed {} from {}\n", countOf(*removed, "file"),
               cache.folder());
  return Right;
}

int quern::tool::cache(const CacheOptions &options) {
  ModuleCache cache(options.folder.empty() ? ModuleCache::defaultFolder()
                                           : options.folder);
  if (cache.folder().empty())
    return report(fail(Errc::InvalidArgument, "there is no cache folder",
                       {"set QUERN_CACHE or HOME, or give --folder"}));
  std::error_code error;
  if (!options.folder.empty() &&
      !std::filesystem::exists(options.folder, error))
    return report(fail(Errc::InvalidArgument,
                       fmt::format("there is no folder {}", options.folder)));
  if (options.action == "clear")
    return clearCache(cache, options);

  auto entries = cache.list();
  if (!entries)
    return report(entries.error());
  bool damaged =
      std::any_of(entries->begin(), entries->end(),
                  [](const CacheEntry &entry) { return !entry.fault.empty(); });
  if (options.json) {
    nlohmann::ordered_json json;
    json["folder"] = cache.folder();
    json["entries"] = nlohmann::ordered_json::array();
    for (const CacheEntry &entry : *entries)
      json["entries"].push_back({{"file", entry.fileName},
                                 {"bytes", entry.bytes},
                                 {"layer", entry.layer},
                                 {"targets", entry.targets},
                                 {"fault", entry.fault}});
    fmt::print("{}\n", toText(json));
  } else {
    fmt::print("{}: {}\n", cache.folder(),
               entries->size() == 1
                   ? "1 entry"
                   : fmt::format("{} entries", entries->size()));
    for (const CacheEntry &entry : *entries)
      fmt::print("  {} {:>9} B  {}\n", entry.fileName, entry.bytes,
                 entry.fault.empty()
                     ? fmt::format("{} for {}", entry.layer,
                                   fmt::join(entry.targets, ", "))
                     : "damaged: " + entry.fault);
  }
  return options.action == "verify" && damaged ? Mismatch : Right;
}
