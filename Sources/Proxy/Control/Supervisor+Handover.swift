// A process in the row of those that take each other's place: what it takes from the one before it, and what it
// keeps for the next one.

import Configuration
import Glibc
import Logging
import MillraceEngine

/// What a process has of the ones before and behind it.
struct HandoverSides {
  /// The process that it replaces; nil: none.
  let running: RunningProcess?
  /// For each of that one's sockets, whether it is served on.
  let adopted: [Bool]
  /// Copies of the sockets, for the next one; nil: it cannot be asked for them.
  let copies: SocketCopies?
  /// Paths of sockets whose files are not this process's.
  let foreignPaths: Set<String>
}

/// What takes part in the end of a process.
struct ProcessEnd {
  let board: ControlBoard
  let life: ProcessLife
  let reloader: Reloader?
  /// Gives the sockets to the next process; nil: upgrades are not possible.
  let successors: HandoverServer?
  let directory: AuditDirectory?
}

extension Supervisor {
  /// Lets the next process ask. A process that cannot be asked serves all the same.
  func startUpgrades(_ parts: HandoverParts) -> HandoverServer? {
    guard let path = configuration.upgradePath else { return nil }
    do throws(SystemFailure) {
      return try HandoverServer(path: path + UnixSocketFile.unpublished, parts)
    } catch {
      logger.warning(
        """
        upgrades not possible error="\(error)" effect="run --upgrade finds no process" \
        hint="make the directory of admin.address writable by the user that millrace runs as"
        """)
      return nil
    }
  }

  /// Tells the process that runs that this one is ready, and lets the workers listen once that one accepts no
  /// more.
  /// - Returns: false if that one goes on serving.
  func takePlace(_ board: ControlBoard, _ opening: OpeningGate) -> Bool {
    guard let running = upgrade.running else { return false }
    guard board.allPrepared() else {
      running.fail("its workers could not start")
      return false
    }
    // The other one would drain, and this one end.
    guard !SignalWaiter.isPending([SIGTERM, SIGINT, SIGQUIT]) else {
      running.fail("it was told to stop")
      logger.critical(
        """
        upgrade failed process=\(running.process) reason="a signal told this process to stop" \
        effect="that process goes on serving"
        """)
      return false
    }
    do throws(HandoverFault) {
      let count = running.sockets.count
      let doubt = try running.takeOver(Array(upgrade.adopted.prefix(count)))
      if let doubt {
        logger.warning(
          """
          upgrade not confirmed process=\(running.process) reason="\(doubt)" \
          effect="this process serves"
          """)
      } else {
        let adopted = upgrade.adopted.prefix(count).count { $0 }
        logger.notice("upgrade done process=\(running.process) sockets=\(adopted)")
      }
      opening.open()
      return true
    } catch {
      logger.critical(
        """
        upgrade failed process=\(running.process) reason="\(error)" \
        effect="that process goes on serving"
        """)
      return false
    }
  }

  /// From here on operators and the next process find this one.
  func publish(_ admin: AdminService, _ successors: HandoverServer?) {
    do throws(SystemFailure) {
      if upgrade.running != nil { try admin.publish() }
      if let successors, let path = configuration.upgradePath {
        try successors.publish(as: path)
        try successors.start()
      }
    } catch {
      logger.error(
        """
        cannot publish the admin sockets error="\(error)" \
        effect="operators, or the next process, do not find this one" hint="restart it"
        """)
    }
  }

  /// Gives the files of UNIX sockets that were taken over the modes of this configuration.
  func setModes(_ plan: Plan) {
    guard upgrade.running != nil else { return }
    for listener in plan.listeners {
      guard let path = listener.address.unixPath, !upgrade.foreignPaths.contains(path) else {
        continue
      }
      do throws(SystemFailure) {
        try ListeningSocket.setMode(of: listener.address)
      } catch {
        logger.warning(
          """
          cannot set the mode of a socket error="\(error)" \
          hint="listeners[].mode is not in force"
          """)
      }
    }
  }

  /// The files of the UNIX sockets that the process listens on, by the sockets' addresses.
  func listenerFiles(_ plan: Plan) -> [String: UnixSocketFile] {
    var files: [String: UnixSocketFile] = [:]
    for listener in plan.listeners {
      guard let path = listener.address.unixPath, !upgrade.foreignPaths.contains(path) else {
        continue
      }
      files[listener.address.description] = UnixSocketFile(path)
    }
    return files
  }

  /// Removes the files of UNIX sockets that listeners had.
  /// - Parameters:
  ///   - files: those of the start.
  ///   - adopted: addresses of sockets that another process serves on.
  func removeFiles(
    _ reloader: Reloader?, _ files: [String: UnixSocketFile], except adopted: Set<String>
  ) {
    if let reloader { return reloader.removeFiles(except: adopted) }
    for (address, file) in files where !adopted.contains(address) { file.remove() }
  }
}
