/**
 * The cloud's firewall as rules for nftables, in the router that stands between the machines and everybody else. It is outside the
 * machines, as the vendor's is: nothing that runs in one can open it. Pure.
 */

import type { Exposure } from '../exposure.ts'

export interface GuardedMachine {
  /** The router's end of the machine's cable. */
  readonly link: string
  /** The router's port that stands for the metadata address on this cable. */
  readonly metadataPort: number
  readonly openings: readonly Exposure[]
}

export const METADATA_ADDRESS = '169.254.169.254'
/** Where the stand-in for Let's Encrypt answers; an address of its own, because containers may be kept from the metadata. */
export const AUTHORITY_ADDRESS = '192.0.2.14'

const TABLE = 'landfall'

/** A whole ruleset; loading it replaces the one before in one step. Connections that are established go on. */
export const renderFirewall = (machines: readonly GuardedMachine[]): string => `
table inet ${TABLE}
delete table inet ${TABLE}
table inet ${TABLE} {
${machines.map(renderMachine).join('')}
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ct state invalid drop
    # Private networks are bridges, with no firewall in them; a kernel with br_netfilter asks here about their frames too.
    iifname "n*" oifname "n*" accept
${machines.map(({ link }) => `    oifname "${link}" goto in-${link}\n`).join('')}
    oifname "m*" drop
    iifname "m*" accept
  }
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
    meta l4proto { icmp, ipv6-icmp } accept
${machines.map(({ link, metadataPort }) => `    iifname "${link}" tcp dport ${metadataPort} accept\n`).join('')}
  }
  chain output {
    type filter hook output priority 0; policy accept;
    # Nobody outside is told that a server is off or gone: packets to it go into the void.
    oifname "outside" icmp type destination-unreachable drop
    oifname "outside" icmpv6 type destination-unreachable drop
  }
  chain metadata {
    type nat hook prerouting priority -100;
${machines
  .map(
    ({ link, metadataPort }) =>
      `    iifname "${link}" ip daddr { ${METADATA_ADDRESS}, ${AUTHORITY_ADDRESS} } tcp dport 80 redirect to :${metadataPort}\n`,
  )
  .join('')}
  }
}
`

/** A whole ruleset: not a packet passes these cables, whatever was established. */
export const renderCut = (links: readonly string[]): string => `
table inet ${TABLE}-cut
delete table inet ${TABLE}-cut
table inet ${TABLE}-cut {
  chain forward {
    type filter hook forward priority -10; policy accept;
${links.map(link => `    iifname "${link}" drop\n    oifname "${link}" drop\n`).join('')}  }
}
`

const renderMachine = ({ link, openings }: GuardedMachine): string => `
  chain in-${link} {
${openings.flatMap(renderOpening).join('')}
    drop
  }
`

const renderOpening = ({ protocol, ports, from }: Exposure): string[] => {
  const families = [
    { name: 'ip', blocks: from.filter(block => !block.includes(':')) },
    { name: 'ip6', blocks: from.filter(block => block.includes(':')) },
  ] as const
  return families
    .filter(({ blocks }) => blocks.length > 0)
    .map(({ name, blocks }) => `    ${name} saddr { ${withoutOverlap(blocks)} } ${renderMatch(protocol, ports, name)} accept\n`)
}

/** A block that covers everything makes the others of its set overlap with it, which nft refuses. */
const withoutOverlap = (blocks: readonly string[]): string => {
  const everything = blocks.find(block => block.endsWith('/0'))
  return (everything === undefined ? [...new Set(blocks)] : [everything]).join(', ')
}

const renderMatch = (protocol: string, ports: Exposure['ports'], family: 'ip' | 'ip6'): string => {
  if (protocol === 'icmp') return family === 'ip' ? 'meta l4proto icmp' : 'meta l4proto ipv6-icmp'
  if (ports === null) return `meta l4proto ${protocol}`
  return `${protocol} dport ${ports.first}-${ports.last}`
}
