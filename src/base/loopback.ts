// Names and addresses that stand for this machine only.

/** Whether a host name or an address (IPv6 without brackets, lower case) is loopback. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
