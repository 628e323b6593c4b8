#include <fcntl.h>
#include <unistd.h>

#include <functional>

#include "store/store_state.h"

namespace assay {
namespace {

struct flock ByteOf(std::string_view run_id, short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(std::hash<std::string_view>{}(run_id) >> 2);
  lock.l_len = 1;
  return lock;
}

}  // namespace

RunLocks::~RunLocks() {
  if (file_ >= 0) ::close(file_);
}

bool RunLocks::Take(const std::string& store_path, std::string_view run_id) {
  if (file_ < 0) file_ = ::open((store_path + "-runs").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file_ < 0) return true;
  // A lock of the open file, not of the process: two stores opened by one process are strangers too.
  struct flock lock = ByteOf(run_id, F_WRLCK);
  return ::fcntl(file_, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

void RunLocks::Release(std::string_view run_id) {
  if (file_ < 0) return;
  struct flock lock = ByteOf(run_id, F_UNLCK);
  ::fcntl(file_, F_OFD_SETLK, &lock);
}

}  // namespace assay
