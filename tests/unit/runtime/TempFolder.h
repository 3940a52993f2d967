//===- TempFolder.h - A folder that goes away -------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_TEMPFOLDER_H
#define QUERN_TESTS_TEMPFOLDER_H

#include <filesystem>
#include <fstream>
#include <span>
#include <stdlib.h>
#include <string>

namespace quern::testing {

class TempFolder {
public:
  TempFolder() {
    std::string name =
        (std::filesystem::temp_directory_path() / "quern-test-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::permissions(path, std::filesystem::perms::owner_all,
                                 ignored);
    std::filesystem::remove_all(path, ignored);
  }
  std::string operator/(const std::string &name) const {
    return path + "/" + name;
  }
  std::string write(const std::string &name,
                    std::span<const std::byte> bytes) const {
    std::ofstream out(*this / name, std::ios::binary);
    out.write(reinterpret_cast<const char *>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
    return *this / name;
  }
  std::string write(const std::string &name, const std::string &text) const {
    return write(name, std::as_bytes(std::span(text)));
  }
  std::string path;
};

} // namespace quern::testing

#endif // QUERN_TESTS_TEMPFOLDER_H
