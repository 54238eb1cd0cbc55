// CDK's own comparison of templates, as `cdk diff` uses it.
// A line of standard input: [{stack, base, head}], two templates each, {} where there is none. For each, a line of
// standard output: what differs.
import { createInterface } from "node:readline";
import { fullDiff } from "@aws-cdk/cloudformation-diff";

// Beside its properties, what of a resource decides what becomes of it. The rest is metadata, or an order of creation.
const ATTRIBUTES = ["Condition", "CreationPolicy", "DeletionPolicy", "UpdatePolicy", "UpdateReplacePolicy"];
// What a template has beside resources.
const DECLARATIONS = ["parameters", "mappings", "conditions", "outputs"];

const differences = ({ stack, base, head }) => {
  const diff = fullDiff(base, head);
  const resources = [];
  diff.resources.forEachDifference((logicalId, change) => {
    const properties = [];
    change.forEachDifference((kind, name, value) => {
      if (kind === "Property" || ATTRIBUTES.includes(name))
        properties.push({ name, old: value.oldValue ?? null, new: value.newValue ?? null, impact: value.changeImpact ?? "WILL_UPDATE" });
    });
    resources.push({
      logical_id: logicalId,
      kind: change.newResourceType ?? change.oldResourceType,
      kind_before: change.oldResourceType ?? null,
      impact: change.changeImpact,
      properties,
    });
  });
  const declarations = [];
  const declare = (name, change) => {
    const [old, new_] = [change.oldValue ?? null, change.newValue ?? null];
    if (JSON.stringify(old) !== JSON.stringify(new_)) declarations.push({ name, old, new: new_ });
  };
  for (const kind of DECLARATIONS)
    diff[kind].forEachDifference((name, change) => declare(`${kind[0].toUpperCase()}${kind.slice(1)}.${name}`, change));
  diff.unknown.forEachDifference((name, change) => declare(name, change));
  if (diff.transform) declare("Transform", diff.transform);
  const iam = diff.iamChanges._toJson();
  const groups = diff.securityGroupChanges.toJson();
  return {
    stack,
    resources,
    declarations,
    statements_added: iam.statementAdditions ?? [],
    statements_removed: iam.statementRemovals ?? [],
    managed_added: iam.managedPolicyAdditions ?? [],
    managed_removed: iam.managedPolicyRemovals ?? [],
    rules_added: [...(groups.ingressRuleAdditions ?? []), ...(groups.egressRuleAdditions ?? [])],
    rules_removed: [...(groups.ingressRuleRemovals ?? []), ...(groups.egressRuleRemovals ?? [])],
  };
};

for await (const line of createInterface({ input: process.stdin })) {
  let reply;
  try {
    reply = { answer: JSON.parse(line).map(differences) };
  } catch (error) {
    reply = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
