/* TLS for the server: OpenSSL under libevent's streams. */
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/err.h"
#include "server/http_connection.h"

static const char *openssl_reason(void) {
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason == NULL ? "OpenSSL gives no reason" : reason;
}

static int load(SSL_CTX *tls, const char *certificate, const char *key) {
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1)
        return ERR(INVALID, "--tls-cert %s is no PEM certificate that can be read: %s", certificate,
                   openssl_reason());
    if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
        return ERR(INVALID, "--tls-key %s is no PEM key that can be read: %s", key, openssl_reason());
    if (SSL_CTX_check_private_key(tls) != 1)
        return ERR(INVALID, "--tls-key %s does not belong to --tls-cert %s", key, certificate);
    return 0;
}

int http_tls_open(struct ssl_ctx_st **out, const char *certificate, const char *key) {
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (tls == NULL) return ERR(INTERNAL, "OpenSSL: %s", openssl_reason());
    int result = load(tls, certificate, key);
    ERR_clear_error();
    if (result < 0) {
        SSL_CTX_free(tls);
        return result;
    }
    *out = tls;
    return 0;
}

void http_tls_close(struct ssl_ctx_st *tls) { SSL_CTX_free(tls); }

struct bufferevent *http_tls_stream(struct http_server *server, evutil_socket_t socket) {
    SSL *session = SSL_new(server->tls);
    if (session == NULL) return NULL;
    struct bufferevent *stream = bufferevent_openssl_socket_new(
        server->base, socket, session, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    if (stream == NULL)
        SSL_free(session);
    else
        bufferevent_openssl_set_allow_dirty_shutdown(stream, 1);
    return stream;
}
