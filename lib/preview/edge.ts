/** What the edge, a Caddy, is told: one site for the wildcard, one certificate, one way on for each preview. */

export interface Way {
  readonly number: number
  /** "pr-12:3000" in Docker's own network, or an address in the private network. */
  readonly upstream: string
}

/** The whole Caddyfile. Pure; the same ways in any order give the same text. */
export function renderCaddyfile(domain: string, ways: readonly Way[]): string {
  const sorted = [...ways].sort((a, b) => a.number - b.number)
  return [
    '{',
    '\tauto_https disable_certs',
    '}',
    '',
    `*.${domain} {`,
    '\ttls /etc/caddy/certificate.pem /etc/caddy/key.pem',
    '\theader X-Robots-Tag "noindex, nofollow"',
    ...sorted.flatMap(({ number, upstream }) => [
      `\t@pr-${number} host pr-${number}.${domain}`,
      `\thandle @pr-${number} {`,
      `\t\treverse_proxy ${upstream}`,
      '\t}',
    ]),
    '\thandle {',
    '\t\trespond "There is no such preview." 404',
    '\t}',
    '}',
    '',
  ].join('\n')
}
