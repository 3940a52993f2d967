//===- Supervisor.cpp - Cases that may hang or crash ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/gpu/Supervisor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace quern;
using namespace quern::gputest;

namespace {

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

//===----------------------------------------------------------------------===//
// Messages from child to parent: what it is, how long the text is, the text.
//===----------------------------------------------------------------------===//

enum class Kind : uint32_t { Opened, Refused, Answered, Lost };

struct Head {
  Kind kind = Kind::Opened;
  uint32_t code = 0; ///< Refused: the Errc.
  uint64_t bytes = 0;
};

struct Message {
  Head head;
  std::string text;
};

void send(int to, Kind kind, const std::string &text, uint32_t code = 0) {
  Head head{kind, code, text.size()};
  std::string all(reinterpret_cast<const char *>(&head), sizeof(head));
  all += text;
  for (size_t at = 0; at < all.size();) {
    ssize_t written = write(to, all.data() + at, all.size() - at);
    if (written < 0 && errno != EINTR)
      _exit(4); // Nobody listens.
    at += written > 0 ? static_cast<size_t>(written) : 0;
  }
}

/// The next message; nothing if the child is silent for `seconds` or has closed
/// its end (`closed`).
std::optional<Message> receive(int from, double seconds, bool &closed) {
  Clock::time_point begin = Clock::now();
  std::string all;
  closed = false;
  for (;;) {
    if (all.size() >= sizeof(Head)) {
      Message message;
      std::memcpy(&message.head, all.data(), sizeof(Head));
      if (all.size() == sizeof(Head) + message.head.bytes) {
        message.text = all.substr(sizeof(Head));
        return message;
      }
    }
    double left = seconds - secondsSince(begin);
    if (left <= 0)
      return std::nullopt;
    pollfd event{from, POLLIN, 0};
    int ready =
        poll(&event, 1, static_cast<int>(std::min(left, 1e6) * 1000) + 1);
    if (ready <= 0)
      continue; // Interrupted, or the time is up.
    // No more than this message: the next one stays in the pipe.
    size_t wanted = sizeof(Head) - std::min(sizeof(Head), all.size());
    if (!wanted) {
      Head head;
      std::memcpy(&head, all.data(), sizeof(head));
      wanted = sizeof(Head) + head.bytes - all.size();
    }
    char buffer[4096];
    ssize_t got = read(from, buffer, std::min(wanted, sizeof(buffer)));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0) {
      closed = true;
      return std::nullopt;
    }
    all.append(buffer, static_cast<size_t>(got));
  }
}

//===----------------------------------------------------------------------===//
// The child
//===----------------------------------------------------------------------===//

[[noreturn]] void serve(int to, size_t first, size_t count,
                        const Supervision &supervision) {
  Result<std::string> opened = supervision.open();
  if (!opened) {
    send(to, Kind::Refused, opened.error().message,
         static_cast<uint32_t>(opened.error().code));
    _exit(0);
  }
  send(to, Kind::Opened, *opened);
  for (size_t i = first; i < count; ++i) {
    CaseAnswer answer = supervision.run(i);
    std::fflush(nullptr);
    send(to, answer.deviceLost ? Kind::Lost : Kind::Answered, answer.text);
    if (answer.deviceLost)
      break;
  }
  // No destructors: a lost device may not even let go of its memory.
  _exit(0);
}

//===----------------------------------------------------------------------===//
// The parent
//===----------------------------------------------------------------------===//

class Child {
public:
  ~Child() { (void)end(/*now=*/false); }

  bool start(size_t first, size_t count, const Supervision &supervision) {
    int ends[2];
    if (pipe(ends) != 0)
      return false;
    std::fflush(nullptr); // What is buffered is printed once.
    process = fork();
    if (process == 0) {
      close(ends[0]);
      prctl(PR_SET_PDEATHSIG, SIGKILL); // It does not outlive a killed parent.
      serve(ends[1], first, count, supervision);
    }
    close(ends[1]);
    from = ends[0];
    if (process < 0) {
      close(from);
      from = -1;
    }
    return process > 0;
  }

  /// Kills the process: at once, or if it does not end by itself. How it ended;
  /// empty if it does not end, as one that waits for a driver may not.
  std::string end(bool now) {
    if (from >= 0)
      close(from);
    from = -1;
    if (process <= 0)
      return {};
    int status = 0;
    Clock::time_point begin = Clock::now();
    bool killed = false;
    pid_t gone = 0;
    while ((gone = waitpid(process, &status, WNOHANG)) == 0) {
      if (!killed && (now || secondsSince(begin) > 1)) {
        kill(process, SIGKILL);
        killed = true;
      }
      if (secondsSince(begin) > 20)
        break;
      usleep(2000);
    }
    process = -1;
    if (gone <= 0)
      return {};
    if (WIFSIGNALED(status))
      return fmt::format("signal {} ({})", WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
    return fmt::format("exit code {}", WEXITSTATUS(status));
  }

  int from = -1;

private:
  pid_t process = -1;
};

} // namespace

Result<void> gputest::supervise(size_t count, const Supervision &supervision) {
  using End = CaseReport::End;
  Clock::time_point begin = Clock::now();
  auto left = [&] { return supervision.totalSeconds - secondsSince(begin); };
  size_t next = 0;
  bool first = true;
  auto leaveOutTheRest = [&](const std::string &why) {
    for (; next < count; ++next)
      supervision.report({next, End::NotBegun, why});
  };
  while (next < count || first) {
    if (left() <= 0) {
      leaveOutTheRest("the time was spent");
      break;
    }
    Child child;
    if (!child.start(next, count, supervision))
      return fail(Errc::OutOfMemory, "no process can be made");
    bool closed = false;
    auto patience = [&] { return std::min(left(), supervision.caseSeconds); };
    std::optional<Message> message = receive(child.from, patience(), closed);
    std::optional<Diagnostic> refusal;
    if (!message)
      refusal =
          fail(Errc::DeviceError,
               closed ? fmt::format("opening the device ended its process: "
                                    "{}",
                                    child.end(/*now=*/false))
                      : "opening the device does not end");
    else if (message->head.kind == Kind::Refused)
      refusal = fail(static_cast<Errc>(message->head.code), message->text);
    if (refusal && first)
      return *refusal;
    if (refusal) {
      leaveOutTheRest("no device any more: " + refusal->message);
      break;
    }
    if (first)
      supervision.opened(message->text);
    first = false;
    for (bool same = true; same && next < count;) {
      if (left() <= 0)
        break;
      message = receive(child.from, patience(), closed);
      if (message) {
        supervision.report({next++, End::Answered, message->text});
        same = message->head.kind == Kind::Answered;
        continue;
      }
      same = false;
      std::string how = child.end(/*now=*/!closed);
      if (closed)
        supervision.report({next++, End::Died, how});
      else
        supervision.report({next++, End::TimedOut, {}});
      if (how.empty())
        leaveOutTheRest("a process of an earlier case does not end");
    }
  }
  return {};
}
