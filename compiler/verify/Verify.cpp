//===- Verify.cpp - A layer against the reference, everywhere -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/verify/Verify.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

using namespace quern;
using namespace quern::verify;

namespace {

class Verification {
public:
  Verification(const VerifyOptions &options, const Oracle &oracle,
               std::vector<Subject> subjects)
      : options(options), oracle(oracle), subjects(std::move(subjects)),
        cases(oracle, options.seed) {}

  Result<VerifyReport> run(std::vector<std::string> notes);

private:
  void describe();
  Result<void> runCase(const Case &one);
  Result<void> runSubject(size_t number, const Case &one,
                          const std::vector<TensorView> &operands);
  Result<const Oracle::Answer *>
  answerFor(const Subject &subject, const std::vector<TensorView> &operands);
  Result<void> runBatches();
  void noteFailure(size_t row, const Case &one, std::string what);
  void noteUnrun();
  bool isStopped() const { return options.isStopped && options.isStopped(); }

  const VerifyOptions &options;
  const Oracle &oracle;
  std::vector<Subject> subjects;
  Cases cases;
  VerifyReport report;
  /// Of the case at hand; a GPU's answer may be another than the others'.
  std::map<std::string, Oracle::Answer> answers;
  std::optional<Diagnostic> leftOut; ///< Why a case was not admitted.
};

} // namespace

void Verification::describe() {
  const Layer &layer = subjects.front().layer;
  report.layer = layer.name();
  for (const Symbol &symbol : layer.symbols())
    report.symbols.push_back(symbol.name);
  report.numericsClass = oracle.numericsClass();
  for (const Subject &subject : subjects) {
    VerifyRow row;
    row.target = subject.setting.target;
    row.code = subject.code;
    row.fuse = subject.setting.fuse;
    row.places = subject.places;
    row.isChosen = subject.isChosen;
    row.threads = subject.setting.threads;
    row.onCpu = subject.code.starts_with("cpu");
    row.placement = subject.setting.placement;
    report.rows.push_back(std::move(row));
  }
  if (!cases.getSizes().leftOut().empty())
    report.notes.push_back(fmt::format(
        "sizes beyond {:.0e} multiply-adds a case are left out: {}",
        Cases::budgetOf(oracle), fmt::join(cases.getSizes().leftOut(), "; ")));
}

void Verification::noteFailure(size_t row, const Case &one, std::string what) {
  ++report.rows[row].failed;
  if (!report.firstFailure)
    report.firstFailure = VerifyFailure{row, one, std::move(what)};
}

Result<const Oracle::Answer *>
Verification::answerFor(const Subject &subject,
                        const std::vector<TensorView> &operands) {
  // The simulator sums in f32, whatever it simulates.
  bool isSimulated = subject.setting.target.starts_with("sim");
  std::string key(isSimulated ? "" : Oracle::toleranceOf(subject.code));
  auto it = answers.find(key);
  if (it == answers.end()) {
    auto made = oracle.answer(operands, options.referenceThreads, key);
    if (!made)
      return made.error();
    it = answers.emplace(key, std::move(*made)).first;
  }
  return &it->second;
}

Result<void> Verification::runSubject(size_t number, const Case &one,
                                      const std::vector<TensorView> &operands) {
  const Subject &subject = subjects[number];
  VerifyRow &row = report.rows[number];
  auto answer = answerFor(subject, operands);
  if (!answer)
    return answer.error();
  GuardedOutputs outputs;
  ++row.cases;
  if (auto done = runInto(subject.layer, operands, one.symbols, outputs);
      !done) {
    noteFailure(number, one, done.error().render());
    return {};
  }
  if (options.afterRun)
    options.afterRun(subject, one.symbols, outputs.getViews());
  if (std::string damage = outputs.findDamage(); !damage.empty()) {
    noteFailure(number, one, fmt::format("it wrote {}", damage));
    return {};
  }
  auto checks = oracle.check(**answer, outputs.getViews());
  if (!checks)
    return checks.error();
  std::string wrong;
  for (const OutputCheck &check : *checks) {
    row.elements += check.elements;
    row.codesOff += check.codesOff;
    row.error = std::max(row.error, check.error);
    row.share = std::max(row.share, check.share);
    if (!check.passed)
      wrong += fmt::format("{}{}: {} ({})", wrong.empty() ? "" : "\n",
                           check.name, check.worst, check.requirement);
  }
  if (!wrong.empty())
    noteFailure(number, one, std::move(wrong));
  return {};
}

Result<void> Verification::runCase(const Case &one) {
  if (options.admit)
    if (auto admitted = options.admit(subjects.front().layer, one.symbols);
        !admitted) {
      report.notes.push_back(fmt::format("case {} is left out: {}", one.number,
                                         admitted.error().message));
      leftOut = admitted.error();
      return {};
    }
  auto operands = oracle.drawInputs(one.symbols, one.seed, {}, one.corner);
  if (!operands)
    return operands.error();
  std::vector<TensorView> views(operands->begin(), operands->end());
  answers.clear();
  for (size_t s = 0; s < subjects.size() && !isStopped(); ++s)
    if (auto done = runSubject(s, one, views); !done)
      return done;
  ++report.cases;
  ++report.corners[std::string(name(one.corner))];
  report.sizes.push_back(one.symbols);
  return {};
}

/// Kernels that no case had the sizes for.
void Verification::noteUnrun() {
  std::vector<std::string> unrun;
  for (const Subject &subject : subjects)
    for (const std::vector<RangeDesc> &when : subject.ranges) {
      if (std::ranges::any_of(report.sizes, [&](const Symbols &sizes) {
            return lieWithin(sizes, when);
          }))
        continue;
      std::string text = subject.code + ": ";
      for (const RangeDesc &range : when)
        text += fmt::format("{} from {} to {}", report.symbols[range.symbol],
                            range.min, range.max);
      if (std::ranges::count(unrun, text) == 0)
        unrun.push_back(std::move(text));
    }
  if (!unrun.empty())
    report.notes.push_back(
        fmt::format("no case has the sizes of some kernels, which were not "
                    "run: {}; give more --cases, or a smaller layer",
                    fmt::join(unrun, "; ")));
}

Result<void> Verification::runBatches() {
  BatchOptions batch;
  batch.seed = options.seed;
  batch.threads = options.referenceThreads;
  batch.isStopped = options.isStopped;
  batch.afterRun = options.afterRun;
  if (options.showStep)
    batch.show = [this](size_t number, size_t of) {
      options.showStep("running batches, setting", number, of);
    };
  auto checked =
      checkBatchInvariance(subjects, oracle, cases.getSizes(), batch);
  if (!checked)
    return checked.error();
  report.batch = std::move(*checked);
  return {};
}

Result<VerifyReport> Verification::run(std::vector<std::string> notes) {
  report.notes = std::move(notes);
  describe();
  // Before hours of other work: a layer without batches is refused.
  if (options.batchInvariant)
    if (auto symbols = findBatchSymbols(subjects.front().layer); !symbols)
      return symbols.error();
  std::optional<Diagnostic> refused;
  unsigned first = options.onlyCase.value_or(0);
  unsigned end = options.onlyCase ? first + 1 : options.cases;
  for (unsigned number = first; number < end && !isStopped(); ++number) {
    if (options.showStep)
      options.showStep("running case", number - first + 1, end - first);
    if (auto done = runCase(cases.get(number)); !done) {
      if (done.error().code == Errc::Internal)
        return done.error();
      report.notes.push_back(
          fmt::format("case {}: {}", number, done.error().message));
      refused = done.error();
    }
  }
  if (report.cases == 0 && (refused || (leftOut && !options.batchInvariant)))
    return refused ? *refused : *leftOut;
  if (options.batchInvariant && !isStopped())
    if (auto done = runBatches(); !done)
      return done.error();
  noteUnrun();
  report.isStopped = isStopped();
  return std::move(report);
}

Result<VerifyReport> verify::verifyLayer(const VerifyOptions &options) {
  if (options.cases == 0 && !options.onlyCase && !options.batchInvariant)
    return fail(Errc::InvalidArgument, "0 cases: nothing would be verified",
                {"accepted is 1 or more, and 0 together with "
                 "--batch-invariant, which then is all that is tested"});
  auto subjects = makeSubjects(options);
  if (!subjects)
    return subjects.error();
  // After compiling, which has the better messages for what is wrong.
  auto oracle = Oracle::create(options.source, options.name, options.layer);
  if (!oracle)
    return oracle.error();
  if (subjects->list.empty()) { // Stopped while compiling.
    VerifyReport report;
    report.layer = options.layer.empty() ? options.name : options.layer;
    report.numericsClass = oracle->numericsClass();
    report.notes = std::move(subjects->notes);
    report.isStopped = true;
    return report;
  }
  return Verification(options, *oracle, std::move(subjects->list))
      .run(std::move(subjects->notes));
}
