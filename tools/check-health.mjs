// Asks the service in the same container whether it lives: exit code 0 when it does.

const { QCOWD_PORT = '', QCOWD_TLS_CERT_FILE = '' } = process.env;
const port = /^\d+$/.test(QCOWD_PORT) ? QCOWD_PORT : '8080';
const scheme = QCOWD_TLS_CERT_FILE === '' ? 'http' : 'https';
// The certificate is for the name that others use, and the answer comes from this container.
if (scheme === 'https') process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

try {
  const answer = await fetch(`${scheme}://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(4_000) });
  process.exitCode = answer.ok ? 0 : 1;
} catch (error) {
  process.stderr.write(`${String(error)}\n`);
  process.exitCode = 1;
}
