/**
 * The migration's checklist as data: the 48 items of the plan it came from, and what its security chapter demands. An item is seen by a
 * probe wherever a probe can see it; a person is asked only for what no machine knows, and the item says why.
 */

import type { ProbeName } from './probes.ts'

export const PHASES = ['pre-migration', 'frontend', 'backend', 'cutover', 'post-migration', 'security'] as const
export type Phase = (typeof PHASES)[number]

export interface Item {
  readonly id: string
  readonly phase: Phase
  readonly text: string
  /** Whose item it is, for probes; absent: everybody's. */
  readonly of?: 'frontend' | 'backend'
  readonly check:
    | { readonly by: 'probe'; readonly probe: ProbeName }
    | { readonly by: 'person'; readonly question: string; readonly why: string }
}

const probe = (probe: ProbeName): Item['check'] => ({ by: 'probe', probe })
const person = (question: string, why: string): Item['check'] => ({ by: 'person', question, why })

const serverItems = (of: 'frontend' | 'backend'): Item[] => {
  const item = (name: string, text: string, probed: ProbeName): Item => ({
    id: `pre-${of}-${name}`,
    phase: 'pre-migration',
    of,
    text: `${of === 'frontend' ? 'Frontend' : 'Backend'} server: ${text}`,
    check: probe(probed),
  })
  return [
    item('server', 'provisioned', 'server runs'),
    item('dokploy', 'Dokploy installed', 'dokploy is healthy'),
    item('firewall', '22, 80, 443 open; 3000 not open to the world', 'ports are as wanted'),
    item('admin', 'Dokploy admin account created', 'dokploy is ours'),
    item('panel', 'Dokploy panel reached', 'panel answers'),
  ]
}

const appItems = (
  of: 'frontend' | 'backend',
  items: readonly (readonly [name: string, text: string, check: Item['check']])[],
): Item[] => items.map(([name, text, check]) => ({ id: `${of}-${name}`, phase: of, of, text, check }))

export const ITEMS: readonly Item[] = [
  ...serverItems('frontend'),
  ...serverItems('backend'),
  ...appItems('frontend', [
    ['app', 'Application created in Dokploy', probe('app exists')],
    ['git', 'Git repository connected', probe('app has its source')],
    ['dockerfile', 'Dockerfile path as configured', probe('app has its dockerfile')],
    ['context', 'Build context as configured', probe('app has its context')],
    ['domain', 'Domain configured', probe('app has its domain')],
    ['tls', 'TLS enabled', probe('app has tls')],
    ['webhook', 'GitHub webhook set up', probe('app is deployed by pushes')],
    ['new-place', 'Deployment answers at the new place, before any DNS change', probe('new place answers')],
    ['build', 'Build completes', probe('last deploy succeeded')],
    ['routes', 'Routes answer at the new place', probe('routes answer')],
    ['cors', 'Calls from the page to the backend are allowed (CORS)', probe('cors allows the frontend')],
  ]),
  ...appItems('backend', [
    ['app', 'Compose application created in Dokploy', probe('app exists')],
    ['compose', 'Production compose file, without mounts of source code', probe('no source is mounted')],
    ['env', 'Environment variables set, none of them blank', probe('variables are set')],
    ['domain', 'Domain configured', probe('app has its domain')],
    ['tls', 'TLS enabled', probe('app has tls')],
    ['webhook', 'GitHub webhook set up', probe('app is deployed by pushes')],
    ['post-deploy', 'Cache handling after a deploy configured', probe('cache is handled after deploys')],
    ['deploy', 'Deployment tested', probe('last deploy succeeded')],
    [
      'services',
      'All services healthy (API, workers, databases)',
      person(
        'Do workers and databases do their work? Look at: bun scripts/app.ts',
        'a container that runs is seen, whether a queue is worked off is known by who wrote the worker',
      ),
    ],
    ['endpoints', 'API endpoints answer at the new place', probe('routes answer')],
    ['cors', 'CORS allows requests from the frontend, and from nobody else', probe('cors refuses strangers')],
  ]),
  {
    id: 'cutover-frontend',
    phase: 'cutover',
    of: 'frontend',
    text: 'DNS of the frontend leads to its server',
    check: probe('dns leads here'),
  },
  {
    id: 'cutover-backend',
    phase: 'cutover',
    of: 'backend',
    text: 'DNS of the backend leads to its server',
    check: probe('dns leads here'),
  },
  { id: 'cutover-propagation', phase: 'cutover', text: 'Old answers are forgotten', check: probe('old answers are gone') },
  {
    id: 'cutover-certificates',
    phase: 'cutover',
    text: 'Trusted certificates on both servers',
    check: probe('certificates are trusted'),
  },
  { id: 'cutover-domains', phase: 'cutover', text: 'Production names answer', check: probe('names answer') },
  {
    id: 'cutover-calls',
    phase: 'cutover',
    text: 'Frontend reaches the backend under the production names',
    check: probe('calls pass in production'),
  },
  {
    id: 'cutover-errors',
    phase: 'cutover',
    text: 'Error logs watched on both servers',
    check: person(
      'Are the error logs quiet since the cutover?',
      'which error is a new one is known by who knows the application',
    ),
  },
  {
    id: 'post-zero-downtime',
    phase: 'post-migration',
    text: 'Deploys without downtime seen on both servers',
    check: person(
      'Was a deploy watched under traffic, without a failed request?',
      'it takes a deploy of yours, at a time of your choice',
    ),
  },
  {
    id: 'post-rollback',
    phase: 'post-migration',
    text: 'Rollback tried on both servers',
    check: person(
      'Was a rollback tried: bun scripts/rollback.ts?',
      'it replaces the running version, which nobody should do unasked',
    ),
  },
  { id: 'post-alerts', phase: 'post-migration', text: 'Alerts configured in both panels', check: probe('alerts are configured') },
  {
    id: 'post-documented',
    phase: 'post-migration',
    text: 'What differs between environments is written down',
    check: person('Is it written down, and where?', 'a document is for people, and so is the judgement on it'),
  },
  {
    id: 'post-old-removed',
    phase: 'post-migration',
    text: 'Deployment at the old host removed',
    check: probe('old host serves no more'),
  },
  {
    id: 'post-cancelled',
    phase: 'post-migration',
    text: 'Subscription at the old host cancelled, if there was one',
    check: person('Is it cancelled?', 'a contract is between you and them'),
  },
  {
    id: 'post-ci-docs',
    phase: 'post-migration',
    text: 'CI/CD documentation updated',
    check: person('Is it updated?', 'a document is for people'),
  },
  {
    id: 'post-team',
    phase: 'post-migration',
    text: 'Team informed of the new way to deploy',
    check: person('Does the team know?', 'only the team can tell'),
  },
  {
    id: 'post-backups',
    phase: 'post-migration',
    text: 'Regular backups of the backend configured',
    check: probe('backups are configured'),
  },
  {
    id: 'security-ports',
    phase: 'security',
    text: 'Databases, caches and internal ports answer nobody outside',
    check: probe('internal ports are closed'),
  },
  {
    id: 'security-pages',
    phase: 'security',
    of: 'frontend',
    text: "No secret in the frontend's pages",
    check: probe('pages hold no secret'),
  },
  {
    id: 'security-apart',
    phase: 'security',
    text: 'Frontend and backend are on servers of their own',
    check: probe('servers are apart'),
  },
]

/** How many of the document's own items are seen by probes, and how many are asked. */
export const countItems = (
  items: readonly Item[] = ITEMS,
): { readonly probes: number; readonly asked: number; readonly beyond: number } => {
  const own = items.filter(item => item.phase !== 'security')
  const probes = own.filter(item => item.check.by === 'probe').length
  return { probes, asked: own.length - probes, beyond: items.length - own.length }
}
