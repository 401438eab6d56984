/* The OpenSSL 3 headers that the TLS room needs, and one inline function for each macro of theirs
 * that Swift cannot import. Nothing here decides: every function is its macro, spelled out.
 */
#ifndef MILLRACE_COPENSSL_SHIM_H
#define MILLRACE_COPENSSL_SHIM_H

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "OpenSSL 3.0 or later is needed"
#endif

/* Options and modes: their macros shift or cast, which the importer does not follow. */

static inline uint64_t copenssl_SSL_OP_NO_RENEGOTIATION(void) { return SSL_OP_NO_RENEGOTIATION; }
static inline uint64_t copenssl_SSL_OP_NO_COMPRESSION(void) { return SSL_OP_NO_COMPRESSION; }
static inline uint64_t copenssl_SSL_OP_IGNORE_UNEXPECTED_EOF(void) {
  return SSL_OP_IGNORE_UNEXPECTED_EOF;
}
static inline uint64_t copenssl_SSL_OP_CIPHER_SERVER_PREFERENCE(void) {
  return SSL_OP_CIPHER_SERVER_PREFERENCE;
}
static inline uint64_t copenssl_OPENSSL_INIT_NO_ATEXIT(void) { return OPENSSL_INIT_NO_ATEXIT; }

/* SSL_CTX: macros over SSL_CTX_ctrl and SSL_CTX_callback_ctrl. */

static inline int copenssl_SSL_CTX_set_min_proto_version(SSL_CTX *ctx, int version) {
  return (int)SSL_CTX_set_min_proto_version(ctx, version);
}
static inline int copenssl_SSL_CTX_set_max_proto_version(SSL_CTX *ctx, int version) {
  return (int)SSL_CTX_set_max_proto_version(ctx, version);
}
static inline long copenssl_SSL_CTX_set_mode(SSL_CTX *ctx, long mode) {
  return SSL_CTX_set_mode(ctx, mode);
}
static inline long copenssl_SSL_CTX_set_session_cache_mode(SSL_CTX *ctx, long mode) {
  return SSL_CTX_set_session_cache_mode(ctx, mode);
}
static inline int copenssl_SSL_CTX_set1_groups_list(SSL_CTX *ctx, const char *list) {
  return (int)SSL_CTX_set1_groups_list(ctx, (char *)list);
}
static inline int copenssl_SSL_CTX_add1_chain_cert(SSL_CTX *ctx, X509 *certificate) {
  return (int)SSL_CTX_add1_chain_cert(ctx, certificate);
}
static inline void copenssl_SSL_CTX_set_read_ahead(SSL_CTX *ctx, int yes) {
  SSL_CTX_set_read_ahead(ctx, yes);
}
static inline long copenssl_SSL_CTX_set_tlsext_servername_callback(
    SSL_CTX *ctx, int (*callback)(SSL *, int *, void *)) {
  return SSL_CTX_set_tlsext_servername_callback(ctx, callback);
}

/* SSL: macros over SSL_ctrl. */

static inline int copenssl_SSL_set_tlsext_host_name(SSL *ssl, const char *name) {
  return (int)SSL_set_tlsext_host_name(ssl, (char *)name);
}
static inline int copenssl_SSL_set_max_proto_version(SSL *ssl, int version) {
  return (int)SSL_set_max_proto_version(ssl, version);
}

/* BIO: macros over BIO_set_flags, BIO_clear_flags and BIO_ctrl. */

static inline void copenssl_BIO_set_retry_read(BIO *bio) { BIO_set_retry_read(bio); }
static inline void copenssl_BIO_clear_retry_flags(BIO *bio) { BIO_clear_retry_flags(bio); }
static inline int copenssl_BIO_rewind(BIO *bio) { return (int)BIO_reset(bio); }
static inline long copenssl_BIO_set_mem_eof_return(BIO *bio, int value) {
  return BIO_set_mem_eof_return(bio, value);
}

/* A key of the curve P-256: a macro over EVP_PKEY_Q_keygen, which is variadic. */

static inline EVP_PKEY *copenssl_EVP_EC_gen_P256(void) { return EVP_EC_gen("P-256"); }

/* Parameter names of the MAC that protects tickets. */

static inline const char *copenssl_OSSL_MAC_PARAM_KEY(void) { return OSSL_MAC_PARAM_KEY; }
static inline const char *copenssl_OSSL_MAC_PARAM_DIGEST(void) { return OSSL_MAC_PARAM_DIGEST; }

/* Error reasons that are expressions. */

static inline int copenssl_ERR_R_MALLOC_FAILURE(void) { return ERR_R_MALLOC_FAILURE; }

static inline void copenssl_OPENSSL_free(void *pointer) { OPENSSL_free(pointer); }

#endif
