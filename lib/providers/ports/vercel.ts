/** Vercel's API, as far as leaving it needs it. Reads only. */

import type { Secret } from '../../secret.ts'

export interface VercelProject {
  readonly id: string
  readonly name: string
  readonly framework?: string
  readonly rootDirectory?: string
  /** "owner/name" of the linked GitHub repository. */
  readonly repository?: string
  readonly productionBranch?: string
}

export interface VercelDomain {
  readonly name: string
  /** Where it only redirects to. */
  readonly redirect?: string
  readonly verified: boolean
  readonly gitBranch?: string
}

export type VercelVariable = {
  readonly name: string
  /** "production", "preview", "development", or the name of one's own environment. */
  readonly targets: readonly string[]
  readonly gitBranch?: string
} & (
  | { readonly state: 'known'; readonly value: Secret }
  /** Vercel does not give the value: it was stored as sensitive, or comes back blank. */
  | { readonly state: 'blank'; readonly why: 'sensitive' | 'empty' | 'encrypted' }
)

export interface Vercel {
  listProjects(): Promise<readonly VercelProject[]>
  listDomains(projectId: string): Promise<readonly VercelDomain[]>
  /** With one request per encrypted value. */
  listVariables(projectId: string): Promise<readonly VercelVariable[]>
}
