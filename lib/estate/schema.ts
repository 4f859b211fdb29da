/**
 * The shape of config.json: the only importer of the schema library. Every key is optional here, so that one wrong value costs
 * one message and the rest can still be judged; what must not be missing is decided in `check.ts`, which knows the defaults.
 */

import * as v from 'valibot'
import { normaliseCidr } from './address.ts'
import type { Path } from './json.ts'
import { appEntries } from './schema-apps.ts'
import { clusterEntries } from './schema-cluster.ts'
import { costCompare } from './schema-cost.ts'
import { flag, integer, type KeyDoc, key, label, list, mustBe, named, section, text } from './schema-kit.ts'
import { migrationEntries } from './schema-migration.ts'
import { previewEntries } from './schema-previews.ts'
import { serviceEntries } from './schema-service.ts'

export type { KeyDoc } from './schema-kit.ts'

const serverType = text('a server type like "cx23"', /^[a-z][a-z0-9-]{1,62}$/)
const location = text('a location like "nbg1"', /^[a-z][a-z0-9-]{1,62}$/)
const image = text('"golden" or a system image like "debian-12"', /^[a-z][a-z0-9.-]{1,62}$/)
const cidr = v.pipe(
  v.string(mustBe('an IP address or a range like "198.51.100.0/24"')),
  v.check(value => normaliseCidr(value) !== undefined, mustBe('an IP address or a range like "198.51.100.0/24"')),
)
const HOST_LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const subdomain = text('a name below the domain like "dev.admin"', new RegExp(`^${HOST_LABEL}(?:\\.${HOST_LABEL})*$`))

/** One value, or several in order of preference. Lazy, because a union would hide which element is wrong. */
const oneOrMore = <const S extends v.GenericSchema<string, string>>(item: S, what: string) =>
  v.lazy(
    (input: unknown): v.GenericSchema<string | string[], string | string[]> =>
      Array.isArray(input) ? v.pipe(v.array(item), v.minLength(1, `must be ${what}, or a list of at least one`)) : item,
  )
const types = oneOrMore(serverType, 'a server type like "cx23"')
const locations = oneOrMore(location, 'a location like "nbg1"')

const amount = v.pipe(
  v.number(mustBe('an amount of at least 0')),
  v.finite(mustBe('an amount of at least 0')),
  v.minValue(0, mustBe('an amount of at least 0')),
)

const isLoopback = (host: string): boolean => host === 'localhost' || host === '[::1]' || /^127(?:\.\d+){3}$/.test(host)
const isSafeUrl = (input: string): boolean => {
  const url = URL.parse(input)
  if (url === null || url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') return false
  return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))
}
const SAFE_URL = 'an https:// address without user name and query (http:// only on this machine)'

const PORT = 'a port from 1 to 65535, or a range like "8000-8100"'
const isPort = (input: string): boolean => {
  const [from = 0, to = from, ...rest] = /^\d{1,5}(?:-\d{1,5})?$/.test(input) ? input.split('-').map(Number) : []
  return rest.length === 0 && from >= 1 && to <= 65_535 && from <= to
}
const port = v.lazy(
  (input: unknown): v.GenericSchema<string | number, string | number> =>
    typeof input === 'number' ? integer(PORT, 1, 65_535) : v.pipe(v.string(mustBe(PORT)), v.check(isPort, mustBe(PORT))),
)
const PROTOCOL = '"tcp", "udp" or "icmp"'
const TTL = 'a whole number of seconds from 60 to 86400'

const rule = section({
  port: key(port, 'number or text', '', 'Port, or range of ports. Needed for tcp and udp, not allowed for icmp.'),
  protocol: key(v.picklist(['tcp', 'udp', 'icmp'], mustBe(PROTOCOL)), 'text', 'tcp', 'tcp, udp or icmp.'),
  from: key(
    list(v.string(mustBe('"anywhere", "admin" or a range')), 'a list of "anywhere", "admin" or ranges'),
    'list of texts',
    '',
    'Who may reach it: "anywhere", "admin" (the admin addresses), or ranges like "198.51.100.0/24".',
  ),
  why: key(
    v.pipe(v.string(mustBe('a text')), v.maxLength(255, 'must have at most 255 characters')),
    'text',
    'nothing',
    'Why the rule exists; stored with it.',
  ),
})

const server = section({
  type: key(types, 'text or list', '', 'Server type, or several in order of preference.'),
  location: key(locations, 'text or list', 'hetzner.location', 'Location, or several in order of preference.'),
  image: key(
    image,
    'text',
    'hetzner.image; Ubuntu 24.04 with os nixos; that of the server it joins',
    '"golden" (the image that Landfall builds) or a system image.',
  ),
  os: key(
    v.picklist(['image', 'nixos'], mustBe('"image" or "nixos"')),
    'text',
    'image',
    'image: it runs what its image holds. nixos: NixOS is installed over the image, which has to be a system image.',
  ),
  system: key(
    text('the name of one of nixosConfigurations in flake.nix', /^[A-Za-z][A-Za-z0-9_-]{0,62}$/),
    'name',
    'backend-<cloud> for the service, golden… with Dokploy, else base-<cloud>',
    'Which of the machines in flake.nix it becomes, with os nixos.',
  ),
  count: key(
    integer('a whole number from 1 to 500', 1, 500),
    'number',
    '1',
    'How many; the first is called <name>, the others <name>-2, <name>-3 ….',
  ),
  dokploy: key(flag, 'true or false', 'false', 'Whether Dokploy runs on it.'),
  joins: key(
    label,
    'name',
    'none',
    'Dokploy server whose swarm it works for: containers of applications run on it too, visitors still come to that server.',
  ),
  network: key(flag, 'true or false', 'true when there is a network', 'Whether it joins the private network.'),
  firewalls: key(
    list(label, 'a list of firewall names'),
    'list of names',
    '<project>-dokploy with Dokploy, <project>-base when it joins, else all firewalls of the file',
    'Firewalls that guard it.',
  ),
  placement_group: key(label, 'name', 'none', 'Placement group that keeps its members on different hosts.'),
  ipv4: key(flag, 'true or false', 'true', 'Whether it gets a public IPv4 address (costs extra).'),
  ipv6: key(flag, 'true or false', 'true', 'Whether it gets a public IPv6 address.'),
  protected: key(flag, 'true or false', 'false', 'Whether it must be named in --confirm before it is destroyed.'),
  role: key(label, 'name', 'its name, without -dokploy', 'What it is for; chooses its subdomain.'),
})

export const configSchema = section({
  project: key(
    text('a name of at most 30 lower-case letters, digits and hyphens', /^[a-z](?:[a-z0-9-]{0,28}[a-z0-9])?$/),
    'name',
    'the first part of dns.domain',
    'Name of the estate; names and labels begin with it.',
  ),
  hetzner: key(
    section({
      location: key(locations, 'text or list', '', 'Location of all servers, or several in order of preference.'),
      server_types: key(
        named(
          v.string(),
          v.pipe(
            types,
            v.metadata({
              type: 'text or list',
              default: '',
              meaning:
                'Type of the server <name>-dokploy, which runs Dokploy. The name packer_build instead gives the type that images are built on.',
            } satisfies KeyDoc),
          ),
        ),
        'group',
        'none',
        'One Dokploy server for each entry.',
      ),
      image: key(image, 'text', 'golden', '"golden" (the image that Landfall builds) or a system image like "debian-12".'),
    }),
    'group',
    '',
    'Where and what the servers are.',
  ),
  digitalocean: key(
    section({
      region: key(
        locations,
        'text or list',
        '',
        'Region of all droplets, like "fra1", or several in order of preference. Instead of hetzner: an estate is at one of the two.',
      ),
      size: key(types, 'text or list', '', 'Size of all droplets, like "s-1vcpu-2gb", or several in order of preference.'),
      image: key(image, 'text', 'debian-12-x64', 'System image of all droplets.'),
      prices: key(
        section({
          snapshot_gb_month: key(amount, 'number', '0.06', 'A gigabyte of snapshot for a month.'),
          volume_gb_month: key(amount, 'number', '0.10', 'A gigabyte of volume for a month.'),
          backup_percent: key(amount, 'number', '20', 'Backups of a droplet, in percent of its price.'),
        }),
        'group',
        'as published in 2026',
        "Prices in US dollars that DigitalOcean's API does not tell, and that costs are therefore reckoned with.",
      ),
    }),
    'group',
    'none',
    'Where and what the droplets are, for an estate at DigitalOcean.',
  ),
  cloudflare: key(
    section({
      api_base_url: key(
        v.pipe(v.string(mustBe(SAFE_URL)), v.check(isSafeUrl, mustBe(SAFE_URL))),
        'text',
        "Cloudflare's own",
        "Address of Cloudflare's API.",
      ),
    }),
    'group',
    '',
    'How Cloudflare is reached.',
  ),
  dns: key(
    v.objectWithRest(
      {
        domain: key(v.string(mustBe('a domain like "example.com"')), 'text', '', 'The zone at Cloudflare.'),
        admin_subdomain: key(subdomain, 'text', 'admin', 'Where the panel of the role prod answers, below the domain.'),
        '<role>_admin_subdomain': key(subdomain, 'text', '<role>.admin', 'Where the panel of another role answers.'),
        ttl: key(integer(TTL, 60, 86_400), 'number', '300', 'Seconds that resolvers may keep a record.'),
        proxied: key(flag, 'true or false', 'false', "Whether Cloudflare's proxy stands before the panels."),
      },
      subdomain,
      mustBe('a group of keys in braces'),
    ),
    'group',
    'no names',
    'Names of the panels.',
  ),
  servers: key(named(label, server), 'group', 'none', 'Further servers or groups of servers, by name.'),
  network: key(
    section({
      range: key(cidr, 'range', '172.16.0.0/16', 'Private range of the network.'),
      subnet: key(cidr, 'range', 'the first /24 of the range', 'Part of the range that the servers are in.'),
      allow_docker_overlap: key(
        flag,
        'true or false',
        'false',
        "Allows a range that Docker gives to containers by default; only for who sets Docker's own pools.",
      ),
    }),
    'group',
    'no network',
    'A private network between the servers.',
  ),
  firewalls: key(
    named(
      label,
      v.pipe(
        list(rule, 'a list of rules'),
        v.metadata({
          type: 'list of rules',
          default: '',
          meaning: 'What may reach the servers; everything else is dropped.',
        } satisfies KeyDoc),
      ),
    ),
    'group',
    '<project>-dokploy: 22, 80, 443 and ping from anywhere',
    'Firewalls by name. Port 3000 of Dokploy stands in none: it is opened to the admin addresses once Dokploy has its owner.',
  ),
  firewall: key(
    section({
      admin_addresses: key(
        list(cidr, 'a list of addresses'),
        'list of addresses',
        'who runs setup, while a panel has no name',
        'Who may reach port 3000 of Dokploy, and what else is open to "admin" only. An empty list closes it for all, allow-me included.',
      ),
    }),
    'group',
    '',
    'Settings of all firewalls.',
  ),
  ssh: key(
    section({
      public_keys: key(
        list(v.string(mustBe('an SSH public key')), 'a list of SSH public keys'),
        'list of texts',
        "the operator's own key",
        'Keys that may log in as root, beside the operator’s own. One that the SSH agent holds is used to log in, and no own key is made then.',
      ),
    }),
    'group',
    '',
    'Who may log in.',
  ),
  dokploy: key(
    section({
      version: key(text('a version like "0.30.2"', /^\d+\.\d+\.\d+$/), 'text', '0.30.2', 'Version of Dokploy, at least 0.29.3.'),
      admin_email: key(
        text('an e-mail address', /^[^\s@"<>]{1,64}@[^\s@"<>]+\.[^\s@"<>]+$/),
        'text',
        'admin@<domain>',
        'Login of the first administrator; also the address for certificates.',
      ),
    }),
    'group',
    '',
    'Settings of Dokploy.',
  ),
  placement_groups: key(list(label, 'a list of names'), 'list of names', 'none', 'Groups whose servers run on different hosts.'),
  cost: key(
    section({
      monthly_cap: key(
        v.pipe(
          v.number(mustBe('an amount above 0')),
          v.finite(mustBe('an amount above 0')),
          v.gtValue(0, mustBe('an amount above 0')),
        ),
        'number',
        'no cap',
        "Refuses a plan whose monthly net price passes this, in the account's currency.",
      ),
      compare: costCompare,
    }),
    'group',
    '',
    'What it may cost.',
  ),
  ...appEntries,
  ...clusterEntries,
  ...migrationEntries,
  ...previewEntries,
  ...serviceEntries,
})

/** config.json as it stands in the file: nothing filled in. */
export type Config = v.InferOutput<typeof configSchema>

/** What is wrong with the shape of `value`, by path. Keys that do not exist are not reported here, see `keys.ts`. */
export const shapeMistakes = (value: unknown): readonly { path: Path; says: string }[] => {
  const result = v.safeParse(configSchema, value)
  return (result.issues ?? []).map(issue => ({
    path: (issue.path ?? []).map(item => item.key).filter(part => typeof part === 'string' || typeof part === 'number'),
    says: issue.message,
  }))
}

/** @throws an ordinary Error when `value` has the wrong shape: ask `shapeMistakes` first */
export const asConfig = (value: unknown): Config => v.parse(configSchema, value)
