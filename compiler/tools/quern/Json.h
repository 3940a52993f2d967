//===- Json.h - Printing JSON -----------------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Names of files and arguments are bytes, JSON is UTF-8: what is no UTF-8
// becomes U+FFFD instead of an exception.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_JSON_H
#define QUERN_TOOLS_QUERN_JSON_H

#include <nlohmann/json.hpp>

#include <string>

namespace quern::tool {

inline std::string toText(const nlohmann::ordered_json &json) {
  return json.dump(2, ' ', false,
                   nlohmann::ordered_json::error_handler_t::replace);
}

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_JSON_H
