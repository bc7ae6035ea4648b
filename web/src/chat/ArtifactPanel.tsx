export default function ArtifactPanel() {
  return null;
}
