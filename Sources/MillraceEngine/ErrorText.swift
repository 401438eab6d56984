// An errno for people who read a log.

import Glibc

enum ErrorText {
  /// In words, strerror(3), with its name.
  static func full(_ code: Int32) -> String {
    "\(String(cString: strerror(code))) (\(name(code)))"
  }

  /// Its name; `errno_N` for one that is not among these.
  static func name(_ code: Int32) -> String {
    switch code {
    case EPERM: "EPERM"
    case EINTR: "EINTR"
    case EIO: "EIO"
    case EBADF: "EBADF"
    case EAGAIN: "EAGAIN"
    case ENOMEM: "ENOMEM"
    case EACCES: "EACCES"
    case EFAULT: "EFAULT"
    case EEXIST: "EEXIST"
    case ENOENT: "ENOENT"
    case EINVAL: "EINVAL"
    case ENFILE: "ENFILE"
    case EMFILE: "EMFILE"
    case ENOSPC: "ENOSPC"
    case EROFS: "EROFS"
    case ENOSYS: "ENOSYS"
    case EOPNOTSUPP: "EOPNOTSUPP"
    case EADDRNOTAVAIL: "EADDRNOTAVAIL"
    case ENETDOWN: "ENETDOWN"
    case ENETUNREACH: "ENETUNREACH"
    case ETIMEDOUT: "ETIMEDOUT"
    case EHOSTUNREACH: "EHOSTUNREACH"
    case EAFNOSUPPORT: "EAFNOSUPPORT"
    default: "errno_\(code)"
    }
  }
}
