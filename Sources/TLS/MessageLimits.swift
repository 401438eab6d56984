// How many messages without application data one session takes: each costs its receiver work, and
// some an answer, while its sender need not read. OpenSSL bounds some of them; the rest is here.

/// Limits on what a peer may send besides application data.
///
/// What OpenSSL 3.0 bounds by itself, each as a fatal alert (`ssl/record/record_local.h`, and tried
/// one below, at and above each limit by the tests of this room):
///
/// - Records without content: 32 in a row (MAX_EMPTY_RECORDS). In TLS 1.3 an empty handshake or
///   alert record is an error by itself (RFC 8446, section 5.4).
/// - Warning alerts: 5 in a row (MAX_WARN_ALERT_COUNT), user_canceled of TLS 1.3 among them.
/// - ChangeCipherSpec in TLS 1.3: during the handshake as records without content, afterwards not
///   at all; in TLS 1.2 once.
/// - Handshake messages in small fragments: the length of the message, 131,396 bytes for a
///   ClientHello (CLIENT_HELLO_MAX_LENGTH) and less for the others, before any of it is processed.
/// - A second HelloRetryRequest, a HelloRequest from a client, post-handshake client certificates:
///   not at all. Renegotiation ends the session with its first ClientHello.
///
/// It does not bound KeyUpdate, nor NewSessionTicket (a server's), nor warning alerts that alternate
/// with other records. Those are counted together, over the whole session.
public enum MessageLimits {
  /// Messages of a session before it has carried any application data. BoringSSL takes 32 KeyUpdates
  /// in a row (kMaxKeyUpdates); Go takes 16 records that do not advance (maxUselessRecords).
  public static var messages: Int { 32 }

  /// Each time that a session has carried this many bytes, in both directions together, one more
  /// message is allowed. A client that renews its keys as early as AES-GCM could ask for, after 2^24.5
  /// records (RFC 8446, section 5.5), sends one in 370 GiB of full records, or 23 MiB of one byte
  /// each; a flood gets at most one answer for a MiB.
  public static var bytesPerMessage: Int { 1 << 20 }

  /// Messages that are allowed once so many bytes of application data have been carried.
  static func allowed(after applicationBytes: Int) -> Int {
    messages + applicationBytes / bytesPerMessage
  }
}
