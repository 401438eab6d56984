// The version, as the command line, the status and the metrics say it.

package enum ProductVersion {
  package static let number = "0.1.0"
}
