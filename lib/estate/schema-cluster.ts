/** The part of config.json's schema that is about the cluster: which servers form it, its programs, and what stands in front. */

import * as v from 'valibot'
import { integer, key, label, mustBe, section, text } from './schema-kit.ts'

const VERSION = 'a version like "1.20.1"'
const version = text(VERSION, /^\d+\.\d+\.\d+$/)
const ARCHIVE = 'an https:// address'
const archive = text(ARCHIVE, /^https:\/\/[^\s@?#]{1,500}$/)
const SHA256 = 'a SHA-256 sum of 64 hexadecimal digits'
const sha256 = text(SHA256, /^[0-9a-f]{64}$/)

const program = (name: string) =>
  section({
    version: key(
      version,
      'text',
      'whatever is installed',
      `Version of ${name} that runs; another one is installed node by node.`,
    ),
    url: key(
      archive,
      'text',
      'it is on the image',
      `Where the .zip or the bare program is fetched from; %VERSION% stands for the version.`,
    ),
    sha256: key(sha256, 'text', '', 'Sum of what url gives; needed with url.'),
  })

export const clusterEntries = {
  cluster: key(
    section({
      servers: key(label, 'name', '', 'Entry of servers whose members run Consul, Nomad and Caddy: 1, 3 or 5 of them.'),
      workers: key(label, 'name', 'none', 'Entry of servers whose members only run jobs.'),
      front: key(
        v.picklist(['caddy', 'load_balancer'], mustBe('"caddy" or "load_balancer"')),
        'text',
        'load_balancer with several servers, else caddy',
        'What visitors reach: a load balancer of Hetzner, or Caddy on the servers.',
      ),
      load_balancer_type: key(
        text('a load balancer type like "lb11"', /^[a-z][a-z0-9-]{1,30}$/),
        'text',
        'lb11',
        'Type of the load balancer.',
      ),
      reserved_memory_mb: key(
        integer('megabytes from 64 to 65536', 64, 65_536),
        'number',
        '512',
        'Memory of a server that jobs may not take from Consul, Nomad and the system.',
      ),
      consul: key(program('Consul'), 'group', '', 'Which Consul.'),
      nomad: key(program('Nomad'), 'group', '', 'Which Nomad.'),
      caddy: key(program('Caddy'), 'group', "Debian's package", 'Which Caddy.'),
    }),
    'group',
    'no cluster',
    'A cluster of Nomad, Consul and Caddy. Apps whose server is the name of its servers run there.',
  ),
}
