#include "foreign/child_process.h"

#include <fmt/format.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

extern char** environ;

namespace assay::foreign {
namespace {

constexpr size_t kLongestLine = 1 << 20;

double NowSeconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The last line that says something: where Python puts the exception.
std::string LastLine(const std::string& path) {
  std::ifstream in(path);
  std::string line, last;
  while (std::getline(in, line)) {
    if (line.find_first_not_of(" \t\r") != std::string::npos) last = line;
  }
  return last.substr(0, 300);
}

}  // namespace

Result<std::unique_ptr<PrivateFolder>> PrivateFolder::Make(std::string_view purpose) {
  std::error_code error;
  const std::filesystem::path root = std::filesystem::temp_directory_path(error);
  if (error) return EnvironmentError(fmt::format("no folder for temporary files: {}; set TMPDIR to one", error.message()));
  std::string path = (root / fmt::format("assay-{}-XXXXXX", purpose)).string();
  if (mkdtemp(path.data()) == nullptr) return EnvironmentError(fmt::format("cannot make a folder in {}: {}", root.string(), std::strerror(errno)));
  return std::unique_ptr<PrivateFolder>(new PrivateFolder(std::move(path)));
}

PrivateFolder::~PrivateFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Result<std::unique_ptr<ChildProcess>> ChildProcess::Start(const std::vector<std::string>& command, const std::string& stderr_path) {
  // A socket instead of two pipes: send() can be told not to raise SIGPIPE when the child is gone.
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return EnvironmentError(fmt::format("no socket: {}", std::strerror(errno)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, stderr_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // A process group of its own: killing it takes its children along, and Ctrl-C reaches us first.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = -1;
  const int failed = posix_spawn(&pid, command.front().c_str(), &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failed != 0) {
    close(ends[0]);
    return EnvironmentError(fmt::format("cannot start {}: {}", command.front(), std::strerror(failed)));
  }
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid, ends[0], stderr_path));
}

ChildProcess::~ChildProcess() { Kill(); }

void ChildProcess::Kill() {
  if (pid_ <= 0) return;
  kill(-pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  close(socket_);
  pid_ = socket_ = -1;
}

Error ChildProcess::Fail(std::string reason) {
  Kill();
  failure_ = std::move(reason);
  return EnvironmentError(failure_);
}

Error ChildProcess::Ended() {
  // Its end of the socket is closed; a child that closed it and lives on is killed before the wait.
  int status = 0;
  const double until_s = NowSeconds() + 0.2;
  pid_t done = 0;
  while ((done = waitpid(pid_, &status, WNOHANG)) == 0 && NowSeconds() < until_s) poll(nullptr, 0, 5);
  std::string how = "closed its output";
  if (done == pid_ && WIFSIGNALED(status)) how = fmt::format("was ended by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  if (done == pid_ && WIFEXITED(status)) how = fmt::format("ended with exit code {}", WEXITSTATUS(status));
  if (done == pid_) {
    kill(-pid_, SIGKILL);  // what it started
    close(socket_);
    pid_ = socket_ = -1;
  }
  const std::string last = LastLine(stderr_path_);
  return Fail(last.empty() ? how : how + ": " + last);
}

Status ChildProcess::Await(short events, double until_s, const std::function<bool()>& stop) {
  for (;;) {
    if (stop && stop()) return Fail("stopped");
    const double left_s = until_s - NowSeconds();
    if (left_s <= 0) return Fail("gave no answer in time and was killed");
    pollfd descriptor{.fd = socket_, .events = events, .revents = 0};
    const int ready = poll(&descriptor, 1, static_cast<int>(1e3 * std::min(left_s, 0.1)) + 1);
    if (ready > 0) return Ok();
    if (ready < 0 && errno != EINTR) return Fail(fmt::format("cannot be waited for: {}", std::strerror(errno)));
  }
}

Status ChildProcess::Send(std::string_view bytes, double until_s, const std::function<bool()>& stop) {
  while (!bytes.empty()) {
    ASSAY_RETURN_IF_ERROR(Await(POLLOUT, until_s, stop));
    const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EINTR && errno != EAGAIN) return Ended();
    if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return Ok();
}

Result<std::string> ChildProcess::Ask(std::string_view line, double timeout_s, const std::function<bool()>& stop) {
  if (pid_ <= 0) return EnvironmentError(failure_);
  const double until_s = NowSeconds() + timeout_s;
  ASSAY_RETURN_IF_ERROR(Send(std::string(line) + "\n", until_s, stop));
  for (;;) {
    if (const size_t end = received_.find('\n'); end != std::string::npos) {
      std::string answer = received_.substr(0, end);
      received_.erase(0, end + 1);
      return answer;
    }
    if (received_.size() > kLongestLine) return Fail("answered more than a MiB without an end of line");
    ASSAY_RETURN_IF_ERROR(Await(POLLIN, until_s, stop));
    char buffer[4096];
    const ssize_t got = recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got > 0) received_.append(buffer, static_cast<size_t>(got));
    else if (got == 0 || (errno != EINTR && errno != EAGAIN)) return Ended();
  }
}

}  // namespace assay::foreign
