/** The part of config.json's schema that is about the cluster: which servers form it, its programs, and what stands in front. */

import * as v from 'valibot'
import { integer, key, label, mustBe, named, section, text } from './schema-kit.ts'

const VERSION = 'a version like "1.20.1"'
const version = text(VERSION, /^\d+\.\d+\.\d+$/)
const ARCHIVE = 'an https:// address'
const archive = text(ARCHIVE, /^https:\/\/[^\s@?#]{1,500}$/)
const SHA256 = 'a SHA-256 sum of 64 hexadecimal digits'
const sha256 = text(SHA256, /^[0-9a-f]{64}$/)

const LOCAL = 'the path of a folder or file below the folder of this file, without ".."'
const localPath = v.pipe(
  v.string(mustBe(LOCAL)),
  v.check(input => /^[^\p{Cc}\\/][^\p{Cc}\\]{0,254}$/u.test(input) && !input.split('/').includes('..'), mustBe(LOCAL)),
)

const registry = section({
  url: key(text('a registry like "ghcr.io"', /^[a-z0-9][a-z0-9.-]*(?::\d{1,5})?$/), 'text', '', 'Its host.'),
  username: key(text('a user name', /^[\w.@+$/-]{1,100}$/), 'text', '', 'Who pushes here and pulls on the machines.'),
  password_env: key(
    text('the name of an environment variable, in capitals', /^[A-Z][A-Z0-9_]{1,63}$/),
    'name',
    '',
    'Variable that holds the password.',
  ),
})

const build = section({
  context: key(localPath, 'path', '.', 'Folder that is built, beside this file.'),
  dockerfile: key(localPath, 'path', 'Dockerfile', 'Dockerfile, from the folder.'),
  stage: key(
    text('a name of letters, digits, dots, hyphens and underscores', /^[A-Za-z0-9][\w.-]{0,62}$/),
    'name',
    'the last',
    'Stage of the Dockerfile.',
  ),
})

const image = (standard: string, about: string) =>
  key(
    text(
      'an image with a version like "ghcr.io/acme/web:1.4"',
      /^[a-z0-9][\w./-]{0,200}(?::\d{1,5}\/[\w./-]{1,200})?(?::[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})$/,
    ),
    'text',
    standard,
    about,
  )

const monitoring = section({
  prometheus_image: image('prom/prometheus:v2.53.2', 'Image of Prometheus, with its version or digest.'),
  grafana_image: image('grafana/grafana:11.1.4', 'Image of Grafana, with its version or digest.'),
  retention_days: key(integer('days from 1 to 365', 1, 365), 'number', '15', 'How long figures are kept.'),
})

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
      monitoring: key(
        monitoring,
        'group',
        'none',
        'Prometheus and Grafana in the cluster; {} is enough. Reached by cluster.ts tunnel.',
      ),
      registry: key(registry, 'group', 'none', 'Registry that images are pushed to and pulled from with a password.'),
      builds: key(
        named(label, build),
        'group',
        'none',
        'Apps whose image is built here from a Dockerfile and pushed as source.image, by name of the app.',
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
