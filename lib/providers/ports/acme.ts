/** A certificate authority that speaks ACME (RFC 8555), in our words: proof by DNS alone, so that no name has to point anywhere yet. */

import type { Secret } from '../../secret.ts'

export interface AcmeChallenge {
  /** The name to be proved. */
  readonly name: string
  /** Where the proof is put, and what it is: a TXT record. */
  readonly recordName: string
  readonly recordValue: string
  readonly url: string
  readonly state: 'pending' | 'processing' | 'valid' | 'invalid'
  /** The authority's words, for an invalid one. */
  readonly why?: string
}

export interface AcmeOrder {
  readonly url: string
  readonly state: 'pending' | 'ready' | 'processing' | 'valid' | 'invalid'
  readonly names: readonly string[]
  readonly challenges: readonly AcmeChallenge[]
  readonly why?: string
}

export interface Acme {
  /** The authority's address; what limits are counted by. */
  readonly directory: string
  /** What CAA records call it. */
  readIdentities(): Promise<readonly string[]>
  /** Makes the account, or finds it by its key; the terms are agreed to. Answers with its URL, which CAA records may name. */
  openAccount(email: string): Promise<{ readonly url: string }>
  /** A new order; an authority gives the same one again while it is unfinished. @throws rate_limited | forbidden | vendor */
  createOrder(names: readonly string[]): Promise<AcmeOrder>
  /** undefined when the authority knows it no more. */
  findOrder(url: string): Promise<AcmeOrder | undefined>
  /** Tells the authority to look at the proof. */
  answerChallenge(challenge: AcmeChallenge): Promise<void>
  /** Hands in the request for the certificate; nothing more can be changed after it. */
  finalizeOrder(order: AcmeOrder, privateKey: Secret): Promise<void>
  /** The certificate with its chain, PEM, of an order in state `valid`. */
  downloadCertificate(order: AcmeOrder): Promise<string>
}
