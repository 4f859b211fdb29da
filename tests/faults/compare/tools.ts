/** Two servers behind a firewall, asked of three tools in the way each is usually used. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../harness/product.ts'
import { CONFIG, type Theatre } from '../harness/theatre.ts'
import { ANSIBLE_VERSION, ansiblePaths, installAnsible } from './ansible.ts'

export interface Tool {
  readonly name: string
  /** Undefined when it is not installed here. */
  readonly version: string | undefined
  /** Makes what is not there yet. */
  install?(): Promise<void>
  /** Words that make the estate, and words that take it away; run in the theatre's directory. */
  prepare(theatre: Theatre): {
    readonly up: readonly string[]
    readonly down: readonly string[]
    readonly env: Readonly<Record<string, string>>
  }
}

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDeUO1Dnk9W4/FtyaxugVBo6e1YA0RKSYxUDWntnP+fr operator@example.com'

const rules = [
  { direction: 'in', protocol: 'tcp', port: '22', source_ips: ['0.0.0.0/0', '::/0'], destination_ips: [] },
  { direction: 'in', protocol: 'tcp', port: '443', source_ips: ['0.0.0.0/0', '::/0'], destination_ips: [] },
]

const LABELS = 'landfall/estate=example'

/** As in most instructions: one command after another. */
const PLAIN_UP = `set -eu
hcloud ssh-key create --name example-key --public-key-from-file key.pub --label ${LABELS}
hcloud firewall create --name example-dokploy --rules-file rules.json --label ${LABELS}
for server in dev prod; do
  hcloud server create --name $server-dokploy --type cx23 --image debian-12 --location nbg1 --ssh-key example-key \\
    --firewall example-dokploy --label ${LABELS}
done
`

/** The careful shell script: looks before it creates, and stops at the first failure. */
const HCLOUD_UP = `set -eu
hcloud ssh-key describe example-key >/dev/null 2>&1 || hcloud ssh-key create --name example-key --public-key-from-file key.pub --label ${LABELS}
hcloud firewall describe example-dokploy >/dev/null 2>&1 || hcloud firewall create --name example-dokploy --rules-file rules.json --label ${LABELS}
for server in dev prod; do
  hcloud server describe $server-dokploy >/dev/null 2>&1 || hcloud server create --name $server-dokploy --type cx23 --image debian-12 \\
    --location nbg1 --ssh-key example-key --firewall example-dokploy --label ${LABELS}
done
`
const HCLOUD_DOWN = `set -eu
for server in dev prod; do ! hcloud server describe $server-dokploy >/dev/null 2>&1 || hcloud server delete $server-dokploy; done
! hcloud firewall describe example-dokploy >/dev/null 2>&1 || hcloud firewall delete example-dokploy
! hcloud ssh-key describe example-key >/dev/null 2>&1 || hcloud ssh-key delete example-key
`

const play = (tasks: string): string => `- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
${tasks}`

const ANSIBLE_UP = play(`    - hetzner.hcloud.hcloud_ssh_key:
        endpoint: "{{ lookup('env', 'HCLOUD_ENDPOINT') }}"
        name: example-key
        public_key: "${KEY}"
        labels: { landfall/estate: example }
        state: present
    - hetzner.hcloud.hcloud_firewall:
        endpoint: "{{ lookup('env', 'HCLOUD_ENDPOINT') }}"
        name: example-dokploy
        rules: ${JSON.stringify(rules.map(({ destination_ips: _, ...rule }) => rule))}
        labels: { landfall/estate: example }
        state: present
    - hetzner.hcloud.hcloud_server:
        endpoint: "{{ lookup('env', 'HCLOUD_ENDPOINT') }}"
        name: "{{ item }}"
        server_type: cx23
        image: debian-12
        location: nbg1
        ssh_keys: [example-key]
        firewalls: [example-dokploy]
        labels: { landfall/estate: example }
        state: present
      loop: [dev-dokploy, prod-dokploy]
`)
const ANSIBLE_DOWN = play(`    - hetzner.hcloud.hcloud_server:
        endpoint: "{{ lookup('env', 'HCLOUD_ENDPOINT') }}"
        name: "{{ item }}"
        state: absent
      loop: [dev-dokploy, prod-dokploy]
    - hetzner.hcloud.hcloud_firewall:
        endpoint: "{{ lookup('env', 'HCLOUD_ENDPOINT') }}"
        name: example-dokploy
        state: absent
    - hetzner.hcloud.hcloud_ssh_key:
        endpoint: "{{ lookup('env', 'HCLOUD_ENDPOINT') }}"
        name: example-key
        state: absent
`)

const firstLine = (words: readonly string[]): string | undefined => {
  if (Bun.which(words[0] ?? '') === null) return undefined
  const { stdout, stderr } = Bun.spawnSync([...words])
  return (stdout.toString() || stderr.toString()).split('\n')[0]?.trim() || 'installed'
}

const basics = ({ cwd, sandbox }: Theatre): Record<string, string> => ({
  PATH: process.env.PATH ?? '',
  HOME: cwd,
  ...sandbox.environment,
})

const shellScript = (name: string, up: string): Tool => ({
  name,
  version: firstLine(['hcloud', 'version']),
  prepare(theatre) {
    writeFileSync(join(theatre.cwd, 'key.pub'), `${KEY}\n`)
    writeFileSync(join(theatre.cwd, 'rules.json'), JSON.stringify(rules))
    writeFileSync(join(theatre.cwd, 'up.sh'), up)
    writeFileSync(join(theatre.cwd, 'down.sh'), HCLOUD_DOWN)
    return { up: ['sh', 'up.sh'], down: ['sh', 'down.sh'], env: basics(theatre) }
  },
})

export const TOOLS: readonly Tool[] = [
  {
    name: 'Landfall',
    version: 'this checkout',
    prepare(theatre) {
      const words = (action: string) => [
        process.execPath,
        '--no-env-file',
        '--preload',
        join(ROOT, 'tests/faults/harness/inside.ts'),
        join(ROOT, 'scripts/provision.ts'),
        action,
        '--yes',
        '--json',
        '--config',
        CONFIG,
        ...(action === 'destroy' ? ['--confirm', 'example'] : []),
      ]
      return { up: words('apply'), down: words('destroy'), env: { ...basics(theatre), HARNESS_SHORTEN: '40' } }
    },
  },
  shellScript('hcloud CLI in a careful shell script', HCLOUD_UP),
  shellScript('hcloud CLI in a plain shell script', PLAIN_UP),
  {
    name: 'Ansible',
    version: ANSIBLE_VERSION,
    install: installAnsible,
    prepare(theatre) {
      const { programs, python, collections } = ansiblePaths()
      writeFileSync(join(theatre.cwd, 'up.yml'), ANSIBLE_UP)
      writeFileSync(join(theatre.cwd, 'down.yml'), ANSIBLE_DOWN)
      const words = (file: string) => [
        join(programs, 'ansible-playbook'),
        '-i',
        'localhost,',
        '-e',
        `ansible_python_interpreter=${python}`,
        file,
      ]
      return {
        up: words('up.yml'),
        down: words('down.yml'),
        env: {
          ...basics(theatre),
          // What a killed module leaves goes with the theatre.
          TMPDIR: theatre.cwd,
          ANSIBLE_COLLECTIONS_PATH: collections,
          ANSIBLE_LOCALHOST_WARNING: 'false',
          ANSIBLE_LOCAL_TEMP: join(theatre.cwd, 'ansible'),
          LC_ALL: 'C.UTF-8',
        },
      }
    },
  },
]
