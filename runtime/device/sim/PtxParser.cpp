//===- PtxParser.cpp - PTX text to a tree ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/PtxParser.h"

#include "runtime/device/sim/PtxLexer.h"
#include "runtime/device/sim/PtxLiterals.h"

#include <fmt/format.h>
#include <map>
#include <optional>
#include <tuple>

using namespace quern;
using namespace quern::sim::ptx;

namespace {

constexpr uint64_t maxElements = uint64_t(1) << 32;
constexpr uint32_t maxRegisterCount = 1 << 20;
constexpr unsigned maxNesting = 64;

/// Recursive descent over the tokens. The first error is kept and makes every
/// further step a no-op, so that callers need not check after each.
class Parser {
public:
  Parser(std::string source, std::string_view name) : name(name) {
    module.text = std::make_unique<std::string>(std::move(source));
    tokens = lex(*module.text);
  }

  Result<Module> run() {
    while (!failed && peek().kind != Token::Kind::End)
      parseModuleItem();
    if (!failed && (module.version.empty() || module.target.empty()))
      refuse(fmt::format("this is no PTX: there is no .{} directive",
                         module.version.empty() ? "version" : "target"));
    if (failed)
      return error;
    return std::move(module);
  }

private:
  const Token &peek(size_t ahead = 0) const {
    return tokens[std::min(at + ahead, tokens.size() - 1)];
  }
  const Token &next() {
    const Token &token = peek();
    if (at + 1 < tokens.size())
      ++at;
    return token;
  }
  bool accept(char punct) {
    if (!peek().is(punct))
      return false;
    next();
    return true;
  }
  void expect(char punct) {
    if (!failed && !accept(punct))
      refuse(fmt::format("expected '{}' but found {}", punct, shown(peek())));
  }
  static std::string shown(const Token &token) {
    if (token.kind == Token::Kind::End)
      return "the end of the text";
    return fmt::format("'{}{}'", token.kind == Token::Kind::Dotted ? "." : "",
                       token.text);
  }
  void refuse(std::string message) {
    if (failed)
      return;
    failed = true;
    error = fail(Errc::InvalidSource, std::move(message));
    error.file = name;
    error.line = peek().line;
  }
  std::string_view expectWord(const char *what) {
    if (peek().kind == Token::Kind::Word)
      return next().text;
    refuse(fmt::format("expected {} but found {}", what, shown(peek())));
    return {};
  }

  uint64_t expectInteger(const char *what);
  Operand parseOperand(unsigned depth = 0);
  void parseModuleItem();
  void parseFunction(bool isEntry);
  void parseParameters(std::vector<Variable> &list);
  void parseBody(Function &function);
  void parseStatement(Function &function);
  void parseLocation();
  void parseFile();
  Variable parseVariable(Space space, bool isParameter);
  void skipSection();

  std::string name;
  Module module;
  std::vector<Token> tokens;
  size_t at = 0;
  bool failed = false;
  Diagnostic error;
  uint32_t location = 0;
  std::map<std::tuple<uint32_t, uint32_t, uint32_t, uint32_t>, uint32_t>
      locationIndex;
};

uint64_t Parser::expectInteger(const char *what) {
  std::string_view word = expectWord(what);
  if (failed)
    return 0;
  if (std::optional<uint64_t> value = parseInteger(word))
    return *value;
  refuse(fmt::format("'{}' is no integer; expected {}", word, what));
  return 0;
}

Operand Parser::parseOperand(unsigned depth) {
  Operand operand;
  if (depth > maxNesting)
    refuse("operands are nested too deeply");
  if (failed)
    return operand;
  auto parseList = [&](char close) {
    while (!failed && !peek().is(close)) {
      operand.elements.push_back(parseOperand(depth + 1));
      if (!accept(','))
        break;
    }
    expect(close);
  };
  if (accept('{')) {
    operand.kind = Operand::Kind::Vector;
    parseList('}');
    return operand;
  }
  if (accept('[')) {
    operand.kind = Operand::Kind::Address;
    parseList(']');
    return operand;
  }
  if (accept('(')) {
    operand.kind = Operand::Kind::List;
    parseList(')');
    return operand;
  }
  operand.negated = accept('!');
  bool minus = accept('-');
  std::string_view word = expectWord("an operand");
  if (failed)
    return operand;
  if (word[0] >= '0' && word[0] <= '9') {
    if (!parseImmediate(word, minus, operand)) {
      bool isFloat =
          word.find('.') != std::string_view::npos ||
          (word.size() > 1 && word[0] == '0' &&
           std::string_view("fFdD").find(word[1]) != std::string_view::npos);
      refuse(fmt::format("'{}' is no {} literal", word,
                         isFloat ? "floating-point" : "integer"));
      return operand;
    }
  } else {
    operand.name = word;
    // Special registers have a component: %tid.x.
    if (peek().kind == Token::Kind::Dotted && !peek().spaced) {
      std::string_view component = next().text;
      operand.name = std::string_view(
          word.data(), component.data() + component.size() - word.data());
    }
    if (minus)
      refuse(fmt::format("'-{}' is no operand", operand.name));
    // generic(variable) in an initialiser.
    if (operand.name == "generic" && accept('(')) {
      operand.name = expectWord("a variable");
      expect(')');
    }
  }
  while (!failed && (peek().is('+') || peek().is('-'))) {
    bool subtract = next().is('-');
    // `reg+-8` is how negative offsets are printed.
    if (!subtract && accept('-'))
      subtract = true;
    uint64_t offset = expectInteger("an offset");
    operand.offset =
        static_cast<int64_t>(static_cast<uint64_t>(operand.offset) +
                             (subtract ? uint64_t(0) - offset : offset));
  }
  if (accept('|')) {
    Operand pair;
    pair.kind = Operand::Kind::Pair;
    pair.elements.push_back(std::move(operand));
    pair.elements.push_back(parseOperand(depth + 1));
    return pair;
  }
  return operand;
}

Variable Parser::parseVariable(Space space, bool isParameter) {
  Variable variable;
  variable.space = space;
  variable.line = peek().line;
  uint32_t vector = 1;
  while (!failed && peek().kind == Token::Kind::Dotted) {
    std::string_view word = next().text;
    if (word == "align") {
      uint64_t align = expectInteger("an alignment");
      if (align == 0 || align > 4096 || (align & (align - 1)))
        refuse(
            fmt::format("alignment {} is no power of two up to 4096", align));
      variable.align = static_cast<uint32_t>(align);
    } else if (word == "v2" || word == "v4") {
      vector = word == "v2" ? 2 : 4;
    } else if (word == "ptr" || word == "global" || word == "shared" ||
               word == "const" || word == "local") {
      // `.param .u64 .ptr .global .align 16 p`: a hint about the pointee.
      if (word == "ptr") {
        while (peek().kind == Token::Kind::Dotted) {
          if (next().text == "align")
            expectInteger("an alignment");
        }
      }
    } else if (variable.type.empty()) {
      variable.type = word;
    } else {
      refuse(fmt::format("unexpected '.{}' in a declaration", word));
    }
  }
  variable.name = expectWord("a name");
  if (variable.type.empty())
    refuse(fmt::format("'{}' is declared without a type", variable.name));
  variable.elements = vector;
  if (space == Space::Reg && accept('<')) {
    uint64_t count = expectInteger("a register count");
    if (count > maxRegisterCount)
      refuse(fmt::format("{} registers are more than the {} accepted", count,
                         maxRegisterCount));
    variable.count = static_cast<uint32_t>(count);
    expect('>');
  }
  bool unsizedArray = false;
  while (!failed && accept('[')) {
    if (accept(']')) {
      unsizedArray = true;
      continue;
    }
    uint64_t extent = expectInteger("an array extent");
    if (extent && variable.elements > maxElements / extent)
      refuse(fmt::format("'{}' is too large", variable.name));
    variable.elements *= extent;
    expect(']');
  }
  if (unsizedArray)
    variable.elements = 0;
  if (!isParameter && accept('=')) {
    Operand value = parseOperand();
    // A nested initialiser lists its elements in memory order.
    std::vector<Operand> work{std::move(value)};
    while (!work.empty()) {
      Operand operand = std::move(work.back());
      work.pop_back();
      if (operand.kind != Operand::Kind::Vector) {
        variable.initializer.push_back(std::move(operand));
        continue;
      }
      for (auto it = operand.elements.rbegin(); it != operand.elements.rend();
           ++it)
        work.push_back(std::move(*it));
    }
    if (unsizedArray)
      variable.elements = variable.initializer.size();
    if (variable.initializer.size() > variable.elements)
      refuse(fmt::format("'{}' has {} elements and {} initialisers",
                         variable.name, variable.elements,
                         variable.initializer.size()));
  }
  return variable;
}

void Parser::parseFile() {
  uint64_t number = expectInteger("a file number");
  if (peek().kind != Token::Kind::String)
    return refuse("expected a file name");
  module.files.emplace_back(static_cast<uint32_t>(number), next().text);
  // Optional time stamp and size.
  while (accept(','))
    expectInteger("a number");
}

void Parser::parseLocation() {
  auto place = [&](Location &loc) {
    loc.file = static_cast<uint32_t>(expectInteger("a file number"));
    loc.line = static_cast<uint32_t>(expectInteger("a line"));
    loc.column = static_cast<uint32_t>(expectInteger("a column"));
  };
  auto intern = [&](const Location &loc) {
    auto [it, fresh] = locationIndex.try_emplace(
        {loc.file, loc.line, loc.column, loc.inlinedAt},
        static_cast<uint32_t>(module.locations.size()));
    if (fresh)
      module.locations.push_back(loc);
    return it->second;
  };
  Location loc;
  place(loc);
  // `, function_name LABEL[+offset], inlined_at file line column`
  while (!failed && accept(',')) {
    std::string_view word = expectWord("'function_name' or 'inlined_at'");
    if (word == "function_name") {
      expectWord("a label");
      if (accept('+'))
        expectInteger("an offset");
    } else if (word == "inlined_at") {
      Location outer;
      place(outer);
      loc.inlinedAt = intern(outer);
    } else {
      refuse(fmt::format("unexpected '{}' in .loc", word));
    }
  }
  if (!failed)
    location = intern(loc);
}

/// `.section .debug_x { ... }`
void Parser::skipSection() {
  while (!failed && !peek().is('{')) {
    if (peek().kind == Token::Kind::End)
      return refuse("a section without a body");
    next();
  }
  unsigned depth = 0;
  do {
    if (peek().kind == Token::Kind::End)
      return refuse("a section is not closed");
    if (peek().is('{'))
      ++depth;
    if (peek().is('}'))
      --depth;
    next();
  } while (depth);
}

void Parser::parseModuleItem() {
  const Token &token = next();
  if (token.is(';'))
    return;
  if (token.kind != Token::Kind::Dotted) {
    --at;
    return refuse(
        fmt::format("expected a directive but found {}", shown(token)));
  }
  std::string_view word = token.text;
  if (word == "version") {
    module.version = expectWord("a version");
  } else if (word == "target") {
    module.target = expectWord("a target");
    while (accept(','))
      expectWord("a target option");
  } else if (word == "address_size") {
    if (uint64_t bits = expectInteger("an address size"); bits != 64)
      refuse(fmt::format("{}-bit addresses; only 64 is supported", bits));
  } else if (word == "file") {
    parseFile();
  } else if (word == "section") {
    skipSection();
  } else if (word == "visible" || word == "weak" || word == "common") {
    // Linkage says nothing about one module.
  } else if (word == "extern") {
    // A call of an external function is refused by its name.
    if (peek().isDotted("func")) {
      next();
      return parseFunction(false);
    }
    if (peek().kind != Token::Kind::Dotted)
      return refuse("expected a declaration after .extern");
    std::optional<Space> space = parseSpace(next().text);
    if (space != Space::Shared && space != Space::Global &&
        space != Space::Const)
      return refuse("only variables can be declared .extern");
    Variable variable = parseVariable(*space, false);
    variable.isExtern = true;
    module.variables.push_back(std::move(variable));
    expect(';');
  } else if (word == "entry" || word == "func") {
    parseFunction(word == "entry");
  } else if (std::optional<Space> space = parseSpace(word);
             space && *space != Space::Reg && *space != Space::Param) {
    module.variables.push_back(parseVariable(*space, false));
    expect(';');
  } else {
    refuse(fmt::format("directive '.{}' is not supported", word));
  }
}

void Parser::parseParameters(std::vector<Variable> &list) {
  while (!failed && !peek().is(')')) {
    std::optional<Space> space;
    if (peek().kind == Token::Kind::Dotted)
      space = parseSpace(peek().text);
    if (space != Space::Param && space != Space::Reg)
      return refuse("expected a parameter");
    next();
    list.push_back(parseVariable(*space, true));
    if (!accept(','))
      break;
  }
  expect(')');
}

void Parser::parseFunction(bool isEntry) {
  Function function;
  function.isEntry = isEntry;
  function.line = peek().line;
  location = 0;
  if (!isEntry && accept('('))
    parseParameters(function.results);
  function.name = expectWord("a function name");
  if (accept('('))
    parseParameters(function.parameters);
  while (!failed && peek().kind == Token::Kind::Dotted) {
    std::string_view word = next().text;
    uint64_t threads = 1;
    std::vector<uint64_t> values;
    while (!failed && peek().kind == Token::Kind::Word) {
      values.push_back(expectInteger("a number"));
      threads *= std::min<uint64_t>(values.back(), 4096);
      if (!accept(','))
        break;
    }
    if (word == "maxntid")
      function.maxThreads = static_cast<uint32_t>(threads);
    else if (word == "reqntid")
      function.requiredThreads = static_cast<uint32_t>(threads);
    else if (word == "reqnctapercluster")
      for (size_t i = 0; i < 3; ++i)
        function.requiredCluster[i] = static_cast<uint32_t>(
            i < values.size() ? std::min<uint64_t>(values[i], 4096) : 1);
    else if (word == "explicitcluster")
      function.explicitCluster = true;
    else if (word == "maxclusterrank" && !values.empty())
      function.maxClusterRank =
          static_cast<uint32_t>(std::min<uint64_t>(values[0], 4096));
    else if (word == "pragma" && peek().kind == Token::Kind::String)
      next();
    else if (word != "minnctapersm" && word != "maxnreg" && word != "noreturn")
      refuse(fmt::format("'.{}' is not supported on a function", word));
  }
  if (accept(';')) {
    module.functions.push_back(std::move(function));
    return;
  }
  function.hasBody = true;
  parseBody(function);
  module.functions.push_back(std::move(function));
}

void Parser::parseBody(Function &function) {
  expect('{');
  unsigned depth = 1;
  while (!failed && depth) {
    const Token &token = peek();
    if (token.kind == Token::Kind::End)
      return refuse(fmt::format("function '{}' is not closed", function.name));
    Statement scope;
    scope.line = token.line;
    if (accept('{')) {
      scope.kind = Statement::Kind::ScopeBegin;
      function.body.push_back(std::move(scope));
      if (++depth > maxNesting)
        refuse("scopes are nested too deeply");
    } else if (accept('}')) {
      if (--depth == 0)
        return;
      scope.kind = Statement::Kind::ScopeEnd;
      function.body.push_back(std::move(scope));
    } else if (!accept(';')) {
      parseStatement(function);
    }
  }
}

void Parser::parseStatement(Function &function) {
  Statement statement;
  statement.line = peek().line;
  statement.location = location;
  if (peek().kind == Token::Kind::Dotted) {
    std::string_view word = next().text;
    if (word == "loc")
      return parseLocation();
    if (word == "file")
      return parseFile();
    if (word == "section")
      return skipSection();
    if (word == "pragma") {
      if (peek().kind == Token::Kind::String)
        next();
      return expect(';');
    }
    std::optional<Space> space = parseSpace(word);
    if (!space) {
      return refuse(fmt::format("directive '.{}' is not supported in a "
                                "function",
                                word));
    }
    statement.kind = Statement::Kind::Declaration;
    statement.variable = parseVariable(*space, false);
    while (!failed && peek().is(',')) {
      // `.reg .b32 a, b;`
      next();
      Statement copy = statement;
      copy.variable.name = expectWord("a name");
      copy.variable.count = 0;
      if (accept('<')) {
        uint64_t count = expectInteger("a register count");
        if (count > maxRegisterCount)
          return refuse("too many registers");
        copy.variable.count = static_cast<uint32_t>(count);
        expect('>');
      }
      function.body.push_back(std::move(copy));
    }
    expect(';');
    function.body.push_back(std::move(statement));
    return;
  }
  if (accept('@')) {
    statement.guardNegated = accept('!');
    statement.guard = expectWord("a predicate");
  }
  statement.name = expectWord("an instruction");
  if (failed)
    return;
  if (statement.guard.empty() && peek().is(':') && !peek(1).is(':')) {
    next();
    statement.kind = Statement::Kind::Label;
    // Directives that take a label: only lists of branch targets are known.
    if (peek().isDotted("branchtargets")) {
      next();
      statement.kind = Statement::Kind::BranchTargets;
      do
        statement.operands.push_back(parseOperand());
      while (!failed && accept(','));
      expect(';');
    } else if (peek().isDotted("calltargets") ||
               peek().isDotted("callprototype")) {
      refuse("indirect calls are not supported");
    }
    function.body.push_back(std::move(statement));
    return;
  }
  statement.spelling = statement.name;
  while (peek().kind == Token::Kind::Dotted) {
    statement.modifiers.push_back(next().text);
    std::string_view last = statement.modifiers.back();
    statement.spelling =
        std::string_view(statement.name.data(),
                         last.data() + last.size() - statement.name.data());
  }
  while (!failed && !peek().is(';')) {
    statement.operands.push_back(parseOperand());
    if (!accept(','))
      break;
  }
  expect(';');
  function.body.push_back(std::move(statement));
}

} // namespace

Result<Module> sim::ptx::parse(std::string text, std::string_view name) {
  // PTX from a compiler ends with a NUL that is no part of the text.
  while (!text.empty() && text.back() == '\0')
    text.pop_back();
  if (text.find('\0') != std::string::npos)
    return fail(Errc::InvalidSource, "PTX text contains a NUL byte");
  return Parser(std::move(text), name).run();
}
