//===- Arguments.h - A program's arguments, strictly ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// For programs that are built where there is nothing but a C++ compiler. An
// option is `--name VALUE`, `--name=VALUE` or, without a value, `--name`; what
// is no option is the one positional argument. A number must be a number from
// its first character to its last and lie within its limits; nothing is rounded
// or cut. Everything else is refused with the reason.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_GPU_ARGUMENTS_H
#define QUERN_TESTS_GPU_ARGUMENTS_H

#include <fmt/format.h>

#include <charconv>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace quern::gputest {

class Arguments {
public:
  /// What the one argument without a name is called; it must be there.
  void positional(std::string name, std::string &to) {
    positionalName = std::move(name);
    positionalTo = &to;
  }
  void flag(std::string name, bool &to) {
    options.push_back({std::move(name), false, false, [&to](std::string_view) {
                         to = true;
                         return std::string();
                       }});
  }
  void text(std::string name, std::string &to, bool required = false) {
    options.push_back(
        {std::move(name), true, required, [&to](std::string_view value) {
           to = value;
           return std::string();
         }});
  }
  /// From `least` to `most`, both included.
  template <typename T> void number(std::string name, T &to, T least, T most) {
    options.push_back(
        {std::move(name), true, false, [&to, least, most](std::string_view v) {
           T value{};
           auto [end, error] =
               std::from_chars(v.data(), v.data() + v.size(), value);
           if (error == std::errc() && end == v.data() + v.size() &&
               value >= least && value <= most) {
             to = value;
             return std::string();
           }
           return fmt::format("'{}' is no {} from {} to {}", v,
                              std::is_integral_v<T> ? "whole number" : "number",
                              least, most);
         }});
  }

  /// Why the arguments (without the program's name) are refused; nothing if
  /// they are fine.
  std::optional<std::string> parse(const std::vector<std::string> &arguments) {
    bool hasPositional = false;
    for (size_t i = 0; i < arguments.size(); ++i) {
      std::string_view argument = arguments[i];
      if (!argument.starts_with("--")) {
        if (!positionalTo)
          return fmt::format("'{}': no argument without a name is taken",
                             argument);
        if (hasPositional)
          return fmt::format("a second {}: '{}' after '{}'", positionalName,
                             argument, *positionalTo);
        *positionalTo = argument;
        hasPositional = true;
        continue;
      }
      size_t equals = argument.find('=');
      std::string_view name = argument.substr(0, equals);
      Option *option = find(name);
      if (!option)
        return fmt::format("no such option: {}; there are {}", name, names());
      if (option->given)
        return fmt::format("{} is given twice", name);
      option->given = true;
      std::string_view value;
      if (equals != std::string_view::npos) {
        if (!option->takesValue)
          return fmt::format("{} takes no value", name);
        value = argument.substr(equals + 1);
      } else if (option->takesValue) {
        if (i + 1 == arguments.size() || arguments[i + 1].starts_with("--"))
          return fmt::format("{} needs a value", name);
        value = arguments[++i];
      }
      if (std::string problem = option->set(value); !problem.empty())
        return fmt::format("{}: {}", name, problem);
    }
    if (positionalTo && (!hasPositional || positionalTo->empty()))
      return fmt::format("a {} is missing", positionalName);
    for (const Option &option : options)
      if (option.required && !option.given)
        return fmt::format("{} is missing", option.name);
    return std::nullopt;
  }
  std::optional<std::string> parse(int argc, char **argv) {
    return parse(std::vector<std::string>(argv + 1, argv + argc));
  }

private:
  struct Option {
    std::string name;
    bool takesValue, required;
    /// Why the value is refused; empty if it is not.
    std::function<std::string(std::string_view)> set;
    bool given = false;
  };
  Option *find(std::string_view name) {
    for (Option &option : options)
      if (option.name == name)
        return &option;
    return nullptr;
  }
  std::string names() const {
    std::string all;
    for (const Option &option : options)
      all += (all.empty() ? "" : ", ") + option.name;
    return all;
  }

  std::vector<Option> options;
  std::string positionalName;
  std::string *positionalTo = nullptr;
};

} // namespace quern::gputest

#endif // QUERN_TESTS_GPU_ARGUMENTS_H
